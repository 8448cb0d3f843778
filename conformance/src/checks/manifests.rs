//! Pushing and pulling manifests.

use bytes::Bytes;
use registry_types::{Digest, MediaType};
use serde_json::json;

use super::{
    Check, Context, Finding, Verdict, check,
    context::{Content, image_manifest, manifest_request},
    hold,
};
use crate::client::Request;

const PUSHING: &str = "distribution-spec: Pushing manifests";

pub(super) const CHECKS: &[Check] = &[
    check!("manifest-bytes-kept", PUSHING, bytes_kept),
    check!("manifest-any-media-type", PUSHING, any_media_type),
    check!("manifest-docker-schema-2", "Docker Image Manifest V2, Schema 2", docker_schema_2),
    check!("manifest-content-type-mismatch", PUSHING, content_type_mismatch),
    check!("manifest-not-json", PUSHING, not_json),
    check!("manifest-digest-mismatch-stores-nothing", PUSHING, digest_mismatch),
    check!("manifest-not-modified", "RFC 9110 13.1.2", not_modified),
    check!("manifest-head-equals-get", "distribution-spec: Checking if content exists", head_equals_get),
    check!("manifest-of-4-mib", PUSHING, largest),
    check!("manifest-missing-parts-named", "distribution-spec: Error codes", missing_parts),
    check!("manifest-tag-moves", PUSHING, tag_moves),
    check!("manifest-accept", "RFC 9110 12.5.1", accept),
    check!("manifest-tag-parameters", "distribution-spec: Pushing manifests with tags", tag_parameters),
];

/// The size that a registry has to take at least, in bytes.
const LARGEST: usize = 4 << 20;

async fn bytes_kept(context: &Context) -> Verdict {
    let repository = context.repository("manifest-bytes-kept");
    let config = Content::new("{}");
    context.push_blob(&repository, &config).await?;
    let digest = config.digest;
    // Odd spaces, an unknown field, an escape, a number in another form, fields in another order, a last line.
    let text = format!(
        "\n{{ \"layers\":[  ],\t\"unknown\" : {{\"b\":1.0e2,\"a\":[null,true]}},\r\n \"config\":{{\"size\":2,\
         \"digest\":\"{digest}\",\"mediaType\":\"{}\",\"also-unknown\":\"\\u00e9\"}},\"schemaVersion\":2 ,\
         \"mediaType\":\"{}\"}}\n \n",
        MediaType::OCI_CONFIG,
        MediaType::OCI_MANIFEST
    );
    let manifest = Content::new(text);
    let pushed = context.put_manifest(&repository, "odd", MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    pushed.expect(&[201])?;
    for reference in ["odd".to_owned(), manifest.digest.to_string()] {
        let got =
            context.get_manifest(&repository, &reference).await?.expect(&[200])?.holds(&manifest.bytes)?;
        hold!(got.header("content-type") == Some(MediaType::OCI_MANIFEST), "{got}: another Content-Type");
        hold!(
            got.header("docker-content-digest") == Some(manifest.digest.to_string().as_str()),
            "{got}: another Docker-Content-Digest"
        );
    }
    Ok(())
}

async fn any_media_type(context: &Context) -> Verdict {
    let repository = context.repository("manifest-any-media-type");
    let (config, layer) = (Content::new("example"), context.content("any", 99));
    context.push_blob(&repository, &config).await?;
    context.push_blob(&repository, &layer).await?;
    let artifact = Content::new(
        json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": "application/vnd.example.thing.v3+json",
            "config": config.descriptor("application/vnd.example.config.v1+text"),
            "layers": [layer.descriptor("application/vnd.example.part; charset=utf-8"), layer.descriptor("x-own/type")],
        })
        .to_string(),
    );
    let pushed =
        context.put_manifest(&repository, "artifact", MediaType::OCI_MANIFEST, &artifact.bytes).await?;
    pushed.expect(&[201])?;
    context.get_manifest(&repository, "artifact").await?.expect(&[200])?.holds(&artifact.bytes)?;
    let index = Content::new(
        json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "manifests": [artifact.descriptor(MediaType::OCI_MANIFEST)],
        })
        .to_string(),
    );
    let pushed = context.put_manifest(&repository, "index", MediaType::OCI_INDEX, &index.bytes).await?;
    pushed.expect(&[201])?;
    let got = context.get_manifest(&repository, "index").await?.expect(&[200])?.holds(&index.bytes)?;
    hold!(got.header("content-type") == Some(MediaType::OCI_INDEX), "{got}: another Content-Type");
    Ok(())
}

async fn docker_schema_2(context: &Context) -> Verdict {
    let repository = context.repository("manifest-docker-schema-2");
    let (config, layer) = (Content::new("{\"os\":\"linux\"}"), context.content("docker", 99));
    context.push_blob(&repository, &config).await?;
    context.push_blob(&repository, &layer).await?;
    let image = Content::new(
        json!({
            "schemaVersion": 2,
            "mediaType": MediaType::DOCKER_MANIFEST,
            "config": config.descriptor(MediaType::DOCKER_CONFIG),
            "layers": [layer.descriptor(MediaType::DOCKER_LAYER_GZIP)],
        })
        .to_string(),
    );
    let mut child = image.descriptor(MediaType::DOCKER_MANIFEST);
    if let Some(child) = child.as_object_mut() {
        child.insert("platform".to_owned(), json!({ "os": "linux", "architecture": "amd64" }));
    }
    let list = Content::new(
        json!({ "schemaVersion": 2, "mediaType": MediaType::DOCKER_MANIFEST_LIST, "manifests": [child] })
            .to_string(),
    );
    for (tag, media_type, manifest) in
        [("image", MediaType::DOCKER_MANIFEST, &image), ("list", MediaType::DOCKER_MANIFEST_LIST, &list)]
    {
        context.put_manifest(&repository, tag, media_type, &manifest.bytes).await?.expect(&[201])?;
        let got = context.get_manifest(&repository, tag).await?.expect(&[200])?.holds(&manifest.bytes)?;
        hold!(got.header("content-type") == Some(media_type), "{got}: Content-Type is not {media_type}");
    }
    Ok(())
}

async fn content_type_mismatch(context: &Context) -> Verdict {
    let repository = context.repository("manifest-content-type-mismatch");
    let manifest = context.image(&repository, "x").await?;
    for media_type in [MediaType::OCI_INDEX, MediaType::DOCKER_MANIFEST] {
        let answer = context.put_manifest(&repository, "x", media_type, &manifest.bytes).await?;
        answer.refused(&[400], &["MANIFEST_INVALID"])?;
    }
    context.get_manifest(&repository, "x").await?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

async fn not_json(context: &Context) -> Verdict {
    let repository = context.repository("manifest-not-json");
    let cut = context.image(&repository, "x").await?.bytes.slice(..60);
    for bytes in [Bytes::new(), Bytes::from_static(b"no json"), Bytes::from_static(b"[]"), cut] {
        let answer = context.put_manifest(&repository, "x", MediaType::OCI_MANIFEST, &bytes).await?;
        answer.refused(&[400], &["MANIFEST_INVALID"])?;
    }
    context.get_manifest(&repository, "x").await?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

async fn digest_mismatch(context: &Context) -> Verdict {
    let repository = context.repository("manifest-digest-mismatch-stores-nothing");
    let manifest = context.image(&repository, "x").await?;
    let other = Digest::sha256(b"another manifest");
    let answer = context
        .put_manifest(&repository, &other.to_string(), MediaType::OCI_MANIFEST, &manifest.bytes)
        .await?;
    answer.refused(&[400], &["DIGEST_INVALID"])?;
    for digest in [other, manifest.digest] {
        let answer = context.get_manifest(&repository, &digest.to_string()).await?;
        answer.refused(&[404], &["MANIFEST_UNKNOWN"])?;
    }
    Ok(())
}

async fn not_modified(context: &Context) -> Verdict {
    let repository = context.repository("manifest-not-modified");
    let manifest = context.push_image(&repository, "x").await?;
    for reference in ["x".to_owned(), manifest.digest.to_string()] {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let first = context.get_manifest(&repository, &reference).await?.expect(&[200])?;
        let tag = first.required("etag")?.to_owned();
        for request in [Request::get(&path), Request::head(&path)] {
            let request = manifest_request(request).header("if-none-match", &tag);
            let answer = context.send(request).await?.expect(&[304])?;
            hold!(answer.body.is_empty(), "{answer}: 304 with a body");
        }
        let other = manifest_request(Request::get(&path)).header("if-none-match", "\"other\"");
        context.send(other).await?.expect(&[200])?.holds(&manifest.bytes)?;
    }
    Ok(())
}

async fn head_equals_get(context: &Context) -> Verdict {
    let repository = context.repository("manifest-head-equals-get");
    let manifest = context.push_image(&repository, "x").await?;
    for reference in ["x".to_owned(), manifest.digest.to_string()] {
        let get =
            context.get_manifest(&repository, &reference).await?.expect(&[200])?.holds(&manifest.bytes)?;
        let request = Request::head(format!("/v2/{repository}/manifests/{reference}"));
        let head = context.send(manifest_request(request)).await?.expect(&[200])?;
        hold!(head.body.is_empty(), "{head}: HEAD with a body");
        for name in ["content-length", "content-type", "docker-content-digest", "etag"] {
            let (got, had) = (get.header(name), head.header(name));
            hold!(got == had, "{reference}: GET has {name} {got:?}, HEAD has {had:?}");
        }
    }
    Ok(())
}

/// A manifest of exactly `size` bytes.
fn padded(config: &Content, size: usize) -> Content {
    let with = |padding: usize| {
        image_manifest(config, &[], json!({ "annotations": { "org.example.padding": "x".repeat(padding) } }))
    };
    with(size - with(0).bytes.len())
}

async fn largest(context: &Context) -> Verdict {
    let repository = context.repository("manifest-of-4-mib");
    let config = Content::new("{}");
    context.push_blob(&repository, &config).await?;
    let fits = padded(&config, LARGEST);
    hold!(fits.bytes.len() == LARGEST, "the check made {} bytes", fits.bytes.len());
    context.put_manifest(&repository, "fits", MediaType::OCI_MANIFEST, &fits.bytes).await?.expect(&[201])?;
    context.get_manifest(&repository, "fits").await?.expect(&[200])?.holds(&fits.bytes)?;
    let larger = padded(&config, LARGEST + 1);
    let answer = context.put_manifest(&repository, "larger", MediaType::OCI_MANIFEST, &larger.bytes).await?;
    if answer.status == 201 {
        return Err(Finding::Skipped("the registry takes manifests larger than 4 MiB, which it may"));
    }
    answer.expect(&[413])?.error_codes()?;
    context.get_manifest(&repository, "larger").await?.expect(&[404])?;
    Ok(())
}

/// Whether the registry takes a manifest whose parts it does not have. It may.
pub(crate) async fn takes_sparse(context: &Context) -> Verdict<bool> {
    let repository = context.repository("probe-of-sparse-manifests");
    let (config, layer) = (Content::new("{}"), context.content("never pushed", 10));
    context.push_blob(&repository, &config).await?;
    let manifest = image_manifest(&config, &[&layer], json!({}));
    let answer =
        context.put_manifest(&repository, "sparse", MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    Ok(answer.expect(&[201, 400, 404])?.status == 201)
}

async fn missing_parts(context: &Context) -> Verdict {
    let repository = context.repository("manifest-missing-parts-named");
    let config = Content::new("{}");
    context.push_blob(&repository, &config).await?;
    let (here, first, second) =
        (context.content("here", 10), context.content("missing", 10), context.content("missing too", 10));
    context.push_blob(&repository, &here).await?;
    let manifest = image_manifest(&config, &[&here, &first, &second], json!({}));
    let answer = context.put_manifest(&repository, "x", MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    if answer.status == 201 {
        return Err(Finding::Skipped("the registry takes manifests whose parts are missing, which it may"));
    }
    let answer = answer.refused(&[400, 404], &["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"])?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for missing in [&first, &second] {
        hold!(
            text.contains(&missing.digest.to_string()),
            "{answer}: the missing {} is not named",
            missing.digest
        );
    }
    hold!(!text.contains(&here.digest.to_string()), "{answer}: names a part that is there");
    context.get_manifest(&repository, "x").await?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
    context.push_blob(&repository, &first).await?;
    context.push_blob(&repository, &second).await?;
    context.put_manifest(&repository, "x", MediaType::OCI_MANIFEST, &manifest.bytes).await?.expect(&[201])?;
    Ok(())
}

async fn tag_moves(context: &Context) -> Verdict {
    let repository = context.repository("manifest-tag-moves");
    let (first, second) = (context.image(&repository, "1").await?, context.image(&repository, "2").await?);
    for manifest in [&first, &second, &first] {
        let pushed =
            context.put_manifest(&repository, "latest", MediaType::OCI_MANIFEST, &manifest.bytes).await?;
        pushed.expect(&[201])?;
        context.get_manifest(&repository, "latest").await?.expect(&[200])?.holds(&manifest.bytes)?;
    }
    for manifest in [&first, &second] {
        let by_digest = context.get_manifest(&repository, &manifest.digest.to_string()).await?;
        by_digest.expect(&[200])?.holds(&manifest.bytes)?;
    }
    Ok(())
}

async fn accept(context: &Context) -> Verdict {
    let repository = context.repository("manifest-accept");
    let manifest = context.push_image(&repository, "x").await?;
    let path = format!("/v2/{repository}/manifests/x");
    let several = format!("{}, {};q=0.5", MediaType::DOCKER_MANIFEST, MediaType::OCI_MANIFEST);
    for value in [MediaType::OCI_MANIFEST, "*/*", "application/*", several.as_str()] {
        let answer = context.send(Request::get(&path).header("accept", value)).await?;
        answer.expect(&[200])?.holds(&manifest.bytes)?;
    }
    // Two header lines are one list.
    let lines = Request::get(&path).header("accept", MediaType::DOCKER_MANIFEST);
    let answer = context.send(lines.header("accept", MediaType::OCI_MANIFEST)).await?;
    answer.expect(&[200])?.holds(&manifest.bytes)?;
    Ok(())
}

async fn tag_parameters(context: &Context) -> Verdict {
    let repository = context.repository("manifest-tag-parameters");
    let manifest = context.image(&repository, "x").await?;
    let reference = format!("{}?tag=one&tag=two&tag=v1.0_a-b", manifest.digest);
    let pushed =
        context.put_manifest(&repository, &reference, MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    let pushed = pushed.expect(&[201])?;
    if !pushed.headers.contains_key("oci-tag") {
        return Err(Finding::Skipped("the registry takes no tags as parameters, which version 1.1 lets it"));
    }
    let values = pushed.headers.get_all("oci-tag").iter().filter_map(|value| value.to_str().ok());
    let mut told: Vec<String> =
        values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
    told.sort();
    hold!(told == ["one", "two", "v1.0_a-b"], "{pushed}: OCI-Tag names {told:?}");
    for tag in &told {
        context.get_manifest(&repository, tag).await?.expect(&[200])?.holds(&manifest.bytes)?;
    }
    let wrong = format!("{}?tag=-not-a-tag", manifest.digest);
    let refused = context.put_manifest(&repository, &wrong, MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    refused.expect(&[400])?.error_codes()?;
    Ok(())
}
