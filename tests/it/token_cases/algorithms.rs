//! Signatures and algorithms: only RS256 by a trusted key counts.

use anyhow::Result;
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use slipway_tests::signer::{message, sign_with_secret};

use super::world::{Rows, World};

/// The honest header under another algorithm's name.
fn named(world: &World, alg: &str) -> String {
    let mut header = world.key.header();
    header["alg"] = json!(alg);
    header.to_string()
}

fn claims(world: &World) -> String {
    world.claims().to_string()
}

/// The honest token's parts.
fn parts(world: &World) -> Result<[String; 3]> {
    let token = world.good_token()?;
    let mut parts = token.split('.').map(str::to_owned);
    Ok(std::array::from_fn(|_| parts.next().unwrap_or_default()))
}

/// The honest token with its signature changed.
fn with_signature(world: &World, change: impl Fn(&mut Vec<u8>)) -> Result<String> {
    let [header, claims, signature] = parts(world)?;
    let mut signature = BASE64URL_NOPAD.decode(signature.as_bytes())?;
    change(&mut signature);
    Ok(format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(&signature)))
}

pub(super) fn add(rows: &mut Rows) {
    rows.token("an honest token", 200, World::good_token);
    unsigned(rows);
    secrets(rows);
    other_algorithms(rows);
    signatures(rows);
    shapes(rows);
}

fn unsigned(rows: &mut Rows) {
    for alg in ["none", "None", "NONE", "nOnE", "", " none", "none ", "null", "n\u{43e}ne"] {
        rows.token(&format!("alg {alg:?} without signature"), 401, move |world| {
            Ok(format!("{}.", message(&named(world, alg), &claims(world))))
        });
        rows.header(&format!("alg {alg:?} with a good signature"), 401, move |header| {
            header["alg"] = json!(alg)
        });
    }
    rows.token("alg none in two parts", 401, |world| Ok(message(&named(world, "none"), &claims(world))));
    for alg in [json!(null), json!(["RS256"]), json!({"RS256": 1}), json!(256), json!(true)] {
        rows.header(&format!("alg {alg}"), 401, move |header| header["alg"] = alg.clone());
    }
    for alg in ["rs256", "Rs256", "RS256 ", " RS256", "RS256\0", "RSA256", "SHA256withRSA"] {
        rows.header(&format!("alg {alg:?}"), 401, move |header| header["alg"] = json!(alg));
    }
    rows.header("no alg", 401, |header| {
        header.as_object_mut().map(|header| header.remove("alg"));
    });
    rows.token("alg twice, none last", 401, |world| {
        let header = format!(r#"{{"kid":"{}","alg":"RS256","alg":"none"}}"#, world.key.id());
        world.key.sign(&header, &claims(world))
    });
    rows.token("alg twice, none first", 401, |world| {
        let header = format!(r#"{{"alg":"none","kid":"{}","alg":"RS256"}}"#, world.key.id());
        world.key.sign(&header, &claims(world))
    });
    rows.token("alg in another case beside it", 401, |world| {
        let header = format!(r#"{{"alg":"RS256","kid":"{}","Alg":"none"}}"#, world.key.id());
        world.key.sign(&header, &claims(world))
    });
}

type Secret = fn(&World) -> Result<Vec<u8>>;

fn secrets(rows: &mut Rows) {
    let secrets: [(&str, Secret); 11] = [
        ("the public key's PEM", |world| Ok(world.key.public_pem().into_bytes())),
        ("the PEM without its last line end", |world| Ok(world.key.public_pem().trim_end().into())),
        ("the PEM with Windows line ends", |world| {
            Ok(world.key.public_pem().replace("\r\n", "\n").replace('\n', "\r\n").into())
        }),
        ("the public key's DER", |world| Ok(world.key.public_der())),
        ("the certificate's PEM", |world| Ok(world.key.certificate()?.1.into_bytes())),
        ("the certificate's DER", |world| Ok(world.key.certificate()?.0)),
        ("the JWK", |world| Ok(world.key.jwk().to_string().into_bytes())),
        ("the modulus", |world| Ok(BASE64URL_NOPAD.decode(world.key.numbers().0.as_bytes())?)),
        ("the key's id", |world| Ok(world.key.id().as_bytes().to_vec())),
        ("the service's name", |_| Ok(super::world::SERVICE.into())),
        ("nothing", |_| Ok(Vec::new())),
    ];
    for (what, secret) in secrets {
        rows.token(&format!("HS256 keyed with {what}"), 401, move |world| {
            Ok(sign_with_secret(hmac::HMAC_SHA256, &secret(world)?, &named(world, "HS256"), &claims(world)))
        });
        rows.token(&format!("an RS256 header over HS256 keyed with {what}"), 401, move |world| {
            Ok(sign_with_secret(hmac::HMAC_SHA256, &secret(world)?, &named(world, "RS256"), &claims(world)))
        });
    }
    for (alg, algorithm) in [("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
        rows.token(&format!("{alg} keyed with the public key's PEM"), 401, move |world| {
            let secret = world.key.public_pem();
            Ok(sign_with_secret(algorithm, secret.as_bytes(), &named(world, alg), &claims(world)))
        });
    }
}

fn other_algorithms(rows: &mut Rows) {
    let paddings: [(&str, &'static dyn RsaEncoding); 5] = [
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    for (alg, padding) in paddings {
        rows.token(&format!("{alg} by the trusted key"), 401, move |world| {
            world.key.sign_with(padding, &named(world, alg), &claims(world))
        });
        rows.token(&format!("an RS256 header over {alg}"), 401, move |world| {
            world.key.sign_with(padding, &named(world, "RS256"), &claims(world))
        });
    }
    for alg in ["ES256", "ES256K", "ES384", "ES512", "EdDSA", "Ed25519", "RSA-OAEP", "dir", "A128KW"] {
        rows.header(&format!("alg {alg} over RS256"), 401, move |header| header["alg"] = json!(alg));
    }
    for alg in ["ES256", "RS256"] {
        rows.token(&format!("an {alg} header over a stranger's ES256"), 401, move |world| {
            let message = message(&named(world, alg), &claims(world));
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map_err(|_| anyhow::anyhow!("no elliptic key"))?;
            let signature = pair
                .sign(&SystemRandom::new(), message.as_bytes())
                .map_err(|_| anyhow::anyhow!("no elliptic signature"))?;
            Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref())))
        });
    }
}

fn signatures(rows: &mut Rows) {
    rows.token("a stranger signs", 401, |world| world.stranger.sign(&named(world, "RS256"), &claims(world)));
    rows.token("the signature is stripped", 401, |world| with_signature(world, Vec::clear));
    rows.token("the signature is zeros", 401, |world| with_signature(world, |bytes| bytes.fill(0)));
    rows.token("the signature is one", 401, |world| {
        with_signature(world, |bytes| {
            bytes.fill(0);
            bytes.last_mut().map(|last| *last = 1).unwrap_or_default();
        })
    });
    rows.token("the signature is the modulus", 401, |world| {
        let modulus = BASE64URL_NOPAD.decode(world.key.numbers().0.as_bytes())?;
        with_signature(world, |bytes| bytes.clone_from(&modulus))
    });
    rows.token("the signature is short of a byte", 401, |world| {
        with_signature(world, |bytes| bytes.truncate(bytes.len() - 1))
    });
    rows.token("the signature has a byte more", 401, |world| with_signature(world, |bytes| bytes.push(0)));
    rows.token("the signature has a zero before it", 401, |world| {
        with_signature(world, |bytes| bytes.insert(0, 0))
    });
    rows.token("the signature has one bit changed", 401, |world| {
        with_signature(world, |bytes| bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1))
    });
    rows.token("the signature is of other claims", 401, |world| {
        let [header, _, signature] = parts(world)?;
        let mut claims = world.claims();
        claims["sub"] = json!("root");
        let forged = message("", &claims.to_string());
        Ok(format!("{header}{forged}.{signature}"))
    });
    rows.token("the signature is of another header", 401, |world| {
        let [_, claims, signature] = parts(world)?;
        let header = json!({"alg": "RS256", "kid": world.key.id()}).to_string();
        Ok(format!("{}.{claims}.{signature}", BASE64URL_NOPAD.encode(header.as_bytes())))
    });
    rows.token("a space in the claims after signing", 401, |world| {
        let [header, claims, signature] = parts(world)?;
        let spaced = format!(" {}", String::from_utf8(BASE64URL_NOPAD.decode(claims.as_bytes())?)?);
        Ok(format!("{header}.{}.{signature}", BASE64URL_NOPAD.encode(spaced.as_bytes())))
    });
}

type Shape = fn(&str, &str, &str) -> String;

fn shapes(rows: &mut Rows) {
    let shapes: [(&str, Shape); 24] = [
        ("one part", |header, _, _| header.to_owned()),
        ("two parts", |header, claims, _| format!("{header}.{claims}")),
        ("four parts", |header, claims, signature| format!("{header}.{claims}.{signature}.{signature}")),
        ("five parts, as if encrypted", |header, claims, signature| {
            format!("{header}.{claims}.a.b.{signature}")
        }),
        ("dots only", |_, _, _| "..".to_owned()),
        ("no header", |_, claims, signature| format!(".{claims}.{signature}")),
        ("no claims", |header, _, signature| format!("{header}..{signature}")),
        ("a dot after", |header, claims, signature| format!("{header}.{claims}.{signature}.")),
        ("a dot before", |header, claims, signature| format!(".{header}.{claims}.{signature}")),
        ("the signature padded", |header, claims, signature| format!("{header}.{claims}.{signature}==")),
        ("the header padded", |header, claims, signature| format!("{header}=.{claims}.{signature}")),
        ("the claims padded", |header, claims, signature| format!("{header}.{claims}==.{signature}")),
        ("the standard alphabet", |header, claims, signature| {
            format!("{header}.{claims}.{}", signature.replace('-', "+").replace('_', "/"))
        }),
        ("percent-encoded dots", |header, claims, signature| format!("{header}%2e{claims}%2e{signature}")),
        ("a space within", |header, claims, signature| format!("{header}. {claims}.{signature}")),
        ("a tab within the signature", |header, claims, signature| {
            format!("{header}.{claims}.\t{signature}")
        }),
        ("a letter more", |header, claims, signature| format!("{header}.{claims}.{signature}A")),
        ("something after a comma", |header, claims, signature| format!("{header}.{claims}.{signature},x")),
        ("something after a semicolon", |header, claims, signature| {
            format!("{header}.{claims}.{signature};x=1")
        }),
        ("quoted", |header, claims, signature| format!("\"{header}.{claims}.{signature}\"")),
        ("the scheme twice", |header, claims, signature| format!("Bearer {header}.{claims}.{signature}")),
        ("the token twice", |header, claims, signature| {
            format!("{header}.{claims}.{signature} {header}.{claims}.{signature}")
        }),
        ("the JSON serialization", |header, claims, signature| {
            json!({"protected": header, "payload": claims, "signature": signature}).to_string()
        }),
        ("17 KiB of it", |header, claims, signature| {
            format!("{header}.{claims}.{signature}{}", "A".repeat(17 << 10))
        }),
    ];
    for (shape, make) in shapes {
        rows.token(&format!("shape: {shape}"), 401, move |world| {
            let [header, claims, signature] = parts(world)?;
            Ok(make(&header, &claims, &signature))
        });
    }
    rows.token("bits left over at the end of the signature", 401, |world| {
        // The last letter of 256 or 384 bytes holds bits that are no byte's; readers that ignore them take
        // many texts for one token.
        let token = world.good_token()?;
        let mut bytes = token.into_bytes();
        if let Some(last) = bytes.last_mut() {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let place = alphabet.iter().position(|letter| letter == last).unwrap_or_default();
            *last = alphabet[place ^ 1];
        }
        Ok(String::from_utf8(bytes)?)
    });
    for (what, header) in [("a list", json!(["RS256", "JWT"])), ("a number", json!(1)), ("null", Value::Null)]
    {
        rows.token(&format!("a header that is {what}"), 401, move |world| {
            world.key.sign(&header.to_string(), &claims(world))
        });
    }
    rows.token("a header that is no JSON", 401, |world| world.key.sign("RS256", &claims(world)));
    rows.token("a header with something after", 401, |world| {
        world.key.sign(&format!("{}{{}}", world.key.header()), &claims(world))
    });
    rows.token("a header after a byte order mark", 401, |world| {
        world.key.sign(&format!("\u{feff}{}", world.key.header()), &claims(world))
    });
}
