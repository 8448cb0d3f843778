//! Manifests: the first line is the `Content-Type`, or empty, the rest the body. The view shows what a plain
//! reading of the JSON shows, and readers that ignore case find nothing else.

use registry_types::{Descriptor, ManifestKind, ManifestView, MediaType};
use serde_json::Value;

/// Members whose second reading would matter.
const READ: &[&str] =
    &["schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject"];

pub(crate) fn run(input: &[u8]) {
    let (declared, body) = super::first_line(input);
    let declared: Option<MediaType> = super::text(declared).trim().parse().ok();
    let Ok(view) = ManifestView::parse(body, declared.as_ref()) else { return };
    let Some(json) = super::plain_reading(body) else { return };
    let members = json.as_object().expect("and an object");
    for known in READ {
        let like = members.keys().filter(|key| key.eq_ignore_ascii_case(known));
        assert!(like.clone().count() <= 1, "{known} stands twice");
        assert!(like.into_iter().all(|key| key == known), "{known} in another case");
    }
    if let Some(declared) = &declared {
        assert_eq!(&view.media_type, declared);
    }
    if let Some(own) = json["mediaType"].as_str() {
        // However it is spelt.
        assert_eq!(Some(&view.media_type), own.parse().ok().as_ref(), "two types for one manifest");
    }
    let known = view.kind != ManifestKind::Opaque;
    let part = |value: &Value| (!value.is_null() && known).then(|| value.clone());
    same(view.config.as_ref(), part(&json["config"]).as_ref());
    same(view.subject.as_ref(), (!json["subject"].is_null()).then_some(&json["subject"]));
    let layers = part(&json["layers"]).or(part(&json["blobs"])).unwrap_or_default();
    all_same(&view.layers, &layers);
    all_same(&view.manifests, &part(&json["manifests"]).unwrap_or_default());

    let required = view.required_blobs();
    for (place, blob) in required.iter().enumerate() {
        assert!(required[..place].iter().all(|other| other.digest != blob.digest), "a blob twice");
    }
    let every = view.config.iter().chain(&view.layers);
    let needed = every.filter(|part| !part.media_type.is_foreign_layer());
    assert!(needed.into_iter().all(|part| required.iter().any(|blob| blob.digest == part.digest)));
}

fn all_same(read: &[Descriptor], written: &Value) {
    let written = written.as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(read.len(), written.len());
    read.iter().zip(written).for_each(|(read, written)| same(Some(read), Some(written)));
}

fn same(read: Option<&Descriptor>, written: Option<&Value>) {
    let (Some(read), Some(written)) = (read, written) else {
        return assert_eq!(read.is_none(), written.is_none());
    };
    assert_eq!(written["digest"], read.digest.to_string());
    assert_eq!(written["size"].as_u64(), Some(read.size));
}
