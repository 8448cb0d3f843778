//! What a registry answers when it does the right thing.

use std::collections::HashMap;

use bytes::Bytes;
use http::header;
use registry_types::{ContentRange, Digest};

use super::{Answer, Seen, State, answer, text};

pub(super) fn authorized(state: &State, seen: &Seen) -> bool {
    if state.challenge.lock().unwrap().is_none() || seen.target.starts_with("/token") {
        return true;
    }
    let tokens = state.tokens.lock().unwrap();
    seen.header("authorization").is_some_and(|value| tokens.contains(value))
}

fn not_found(code: &str) -> Answer {
    text(answer(404), format!(r#"{{"errors":[{{"code":"{code}","message":"unknown"}}]}}"#))
}

pub(super) fn respond(state: &State, seen: &Seen, body: Vec<u8>, ranged: bool) -> Answer {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let query: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let rest = path.strip_prefix("/v2/root/app/").unwrap_or_default();
    let method = seen.method.as_str();
    if path == "/token" {
        let mut tokens = state.tokens.lock().unwrap();
        let token = format!("token-{}", tokens.len());
        tokens.insert(format!("Bearer {token}"));
        return text(answer(200), format!(r#"{{"token":"{token}","expires_in":300}}"#));
    }
    if let Some(digest) = rest.strip_prefix("blobs/sha256:").map(|hex| format!("sha256:{hex}")) {
        return match state.blobs.lock().unwrap().get(&digest) {
            Some(content) => serve_blob(seen, content, ranged),
            None => not_found("BLOB_UNKNOWN"),
        };
    }
    if let Some(name) = rest.strip_prefix("manifests/") {
        return manifests(state, method, name, seen, body);
    }
    if rest.starts_with("blobs/uploads") {
        return uploads(state, method, path, &query, seen, body);
    }
    if path == "/v2/" { text(answer(200), "{}") } else { not_found("NAME_UNKNOWN") }
}

fn serve_blob(seen: &Seen, content: &Bytes, ranged: bool) -> Answer {
    let range = seen.header("range").filter(|_| ranged);
    let Some(range) = range else {
        return text(answer(200).header(header::CONTENT_LENGTH, content.len()), content.clone());
    };
    let range = registry_types::ByteRange::parse(range, content.len() as u64).unwrap();
    let part = content.slice(range.start as usize..=range.last as usize);
    let shown = format!("bytes {}-{}/{}", range.start, range.last, content.len());
    text(answer(206).header(header::CONTENT_RANGE, shown).header(header::CONTENT_LENGTH, part.len()), part)
}

fn manifests(state: &State, method: &str, name: &str, seen: &Seen, body: Vec<u8>) -> Answer {
    let mut manifests = state.manifests.lock().unwrap();
    match method {
        "PUT" => {
            let digest = Digest::sha256(&body).to_string();
            let entry = (seen.header("content-type").unwrap().to_owned(), Bytes::from(body));
            manifests.insert(name.to_owned(), entry.clone());
            manifests.insert(digest.clone(), entry);
            text(answer(201).header("docker-content-digest", digest), "")
        }
        "DELETE" => match manifests.remove(name) {
            Some(_) => text(answer(202), ""),
            None => not_found("MANIFEST_UNKNOWN"),
        },
        _ => match manifests.get(name) {
            Some((media_type, content)) => text(
                answer(200)
                    .header(header::CONTENT_TYPE, media_type)
                    .header(header::CONTENT_LENGTH, content.len())
                    .header("docker-content-digest", Digest::sha256(content).to_string()),
                content.clone(),
            ),
            None => not_found("MANIFEST_UNKNOWN"),
        },
    }
}

fn uploads(
    state: &State,
    method: &str,
    path: &str,
    query: &HashMap<String, String>,
    seen: &Seen,
    body: Vec<u8>,
) -> Answer {
    let mut uploads = state.uploads.lock().unwrap();
    if method == "POST" {
        if let (Some(digest), Some(_)) = (query.get("mount"), query.get("from"))
            && state.blobs.lock().unwrap().contains_key(digest)
        {
            return text(answer(201).header("docker-content-digest", digest).header("location", "/x"), "");
        }
        let place = format!("/v2/root/app/blobs/uploads/{}", uploads.len());
        uploads.insert(place.clone(), Vec::new());
        return text(answer(202).header(header::LOCATION, format!("{place}?state=a%2Fb")), "");
    }
    let Some(held) = uploads.get_mut(path) else { return not_found("BLOB_UPLOAD_UNKNOWN") };
    assert_eq!(query.get("state").map(String::as_str), Some("a/b"), "the Location's query was lost");
    let place = format!("{path}?state=a%2Fb");
    let at = |builder: http::response::Builder, length: usize| {
        let range = format!("0-{}", length.saturating_sub(1));
        builder.header(header::RANGE, range).header(header::LOCATION, &place)
    };
    match method {
        "GET" => text(at(answer(204), held.len()), ""),
        "DELETE" => {
            uploads.remove(path);
            text(answer(204), "")
        }
        "PATCH" => {
            let range = ContentRange::parse(seen.header("content-range").unwrap()).unwrap();
            if range.start != held.len() as u64 {
                return text(at(answer(416), held.len()), "");
            }
            held.extend_from_slice(&body);
            text(at(answer(202), held.len()), "")
        }
        "PUT" => {
            held.extend_from_slice(&body);
            let content = Bytes::from(std::mem::take(held));
            let digest = Digest::sha256(&content).to_string();
            let wanted = query.get("digest").unwrap();
            if *wanted != digest {
                *held = content.to_vec();
                return text(
                    answer(400),
                    r#"{"errors":[{"code":"DIGEST_INVALID","message":"the content has another digest"}]}"#,
                );
            }
            uploads.remove(path);
            state.blobs.lock().unwrap().insert(digest.clone(), content);
            text(answer(201).header("docker-content-digest", digest).header("location", "/x"), "")
        }
        _ => text(answer(405), ""),
    }
}
