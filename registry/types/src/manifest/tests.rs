use proptest::prelude::*;

use super::*;
use crate::Digest;

fn image(extra: &str) -> String {
    let digest = Digest::sha256(b"");
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":0}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":0}}]{extra}}}"#
    )
}

fn oci() -> MediaType {
    MediaType::known(MediaType::OCI_MANIFEST)
}

#[test]
fn an_image_manifest_names_its_parts_once() {
    let view = ManifestView::parse(image("").as_bytes(), Some(&oci())).unwrap();
    assert_eq!(view.kind, ManifestKind::Image);
    assert_eq!(view.required_blobs().len(), 1);
    assert_eq!(view.effective_artifact_type().unwrap().as_str(), MediaType::OCI_CONFIG);
}

#[test]
fn two_types_for_one_manifest_are_refused() {
    let text = image(r#","mediaType":"application/vnd.oci.image.index.v1+json""#);
    assert!(ManifestView::parse(text.as_bytes(), Some(&oci())).is_err());
    let both = image(r#","manifests":[]"#);
    assert!(ManifestView::parse(both.as_bytes(), Some(&oci())).is_err());
}

#[test]
fn missing_parts_are_refused_by_name() {
    let error = ManifestView::parse(br#"{"schemaVersion":2,"layers":[]}"#, Some(&oci())).unwrap_err();
    assert!(error.to_string().contains("needs a config"), "{error}");
    assert!(ManifestView::parse(br#"{"schemaVersion":1}"#, Some(&oci())).is_err());
    assert!(ManifestView::parse(b"{}", None).is_err());
    assert!(ManifestView::parse(b"[]", Some(&oci())).is_err());
}

#[test]
fn unknown_types_are_kept_whole() {
    let odd = "application/vnd.example.thing.v1+json".parse().unwrap();
    let view = ManifestView::parse(image("").as_bytes(), Some(&odd)).unwrap();
    assert_eq!(view.kind, ManifestKind::Opaque);
    assert!(view.required_blobs().is_empty());
}

#[test]
fn foreign_layers_need_not_be_held() {
    let text = image("").replace(
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    );
    let view = ManifestView::parse(text.as_bytes(), Some(&oci())).unwrap();
    assert_eq!(view.required_blobs().len(), 1);
    assert_eq!(view.required_blobs()[0].media_type.as_str(), MediaType::OCI_CONFIG);
}

fn parsed(text: &str) -> Result<ManifestView, ParseError> {
    ManifestView::parse(text.as_bytes(), Some(&oci()))
}

#[track_caller]
fn refused(text: &str, reason: &str) {
    let error = parsed(text).unwrap_err().to_string();
    assert!(error.contains(reason), "{text}: {error}");
}

#[test]
fn an_array_is_no_manifest_and_no_descriptor() {
    let digest = Digest::sha256(b"");
    let descriptor = format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":0}}"#);
    let listed = format!(r#"["a/b","{digest}",0,null,null,null,null,null]"#);
    refused(&format!(r#"[2,"{}",null,{descriptor},[],null,null,null,null]"#, oci()), "an object");
    refused(&format!(r#"{{"schemaVersion":2,"config":{listed},"layers":[]}}"#), "an object");
    refused(&format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[{listed}]}}"#), "an object");
    let platform = descriptor.replace("\"size\":0", r#""size":0,"platform":["amd64","linux",null,[],null]"#);
    refused(&format!(r#"{{"schemaVersion":2,"config":{platform},"layers":[]}}"#), "an object");
}

#[test]
fn keys_that_go_reads_as_others_are_refused() {
    for (key, known) in [
        ("Layers", "layers"),
        ("MANIFESTS", "manifests"),
        ("MediaType", "mediaType"),
        ("schemaversion", "schemaVersion"),
        ("Blobs", "blobs"),
        ("layer\u{17f}", "layers"),
        ("\\u006Cayer\\u017f", "layers"),
        ("Annotations", "annotations"),
    ] {
        refused(&image(&format!(r#","{key}":null"#)), known);
    }
    let known =
        |variant: &str, own: &str| image("").replace(&format!("\"{own}\""), &format!("\"{variant}\""));
    // Instead of the real key, of the body and of the descriptors in it.
    refused(&known("Config", "config"), "config");
    refused(&known("Digest", "digest"), "digest");
    refused(&known("\u{17f}ize", "size"), "size");
    let beside = image("").replace(r#""size":0"#, r#""size":0,"Size":1"#);
    refused(&beside, "size");
    let platform = r#","subject":{"mediaType":"a/b","digest":"D","size":1,"platform":{"architecture":"a","os":"b","OS":"c"}}"#
        .replace('D', &Digest::sha256(b"").to_string());
    refused(&image(&platform), "os");
    // Keys that are no variant of a known one are anybody's, wherever they stand.
    parsed(&image(r#","layers2":[],"Layer":1,"x":{"Config":1,"config":2}"#)).unwrap();
    parsed(&image(r#","annotations":{"layers":"a","Layers":"b"}"#)).unwrap();
}

#[test]
fn keys_that_stand_twice_are_refused() {
    refused(&image(r#","schemaVersion":2"#), "schemaVersion");
    refused(&image(r#","x":1,"y":2,"x":1"#), "\"x\"");
    refused(&image(r#","annotations":{"a":"1","b":"2","\u0061":"3"}"#), "\"a\"");
    let twice = image("").replace(r#""size":0"#, r#""size":0,"z":0,"z":1"#);
    refused(&twice, "\"z\"");
}

#[test]
fn text_that_is_not_utf_8_is_refused_wherever_it_stands() {
    for extra in [r#","x":"?""#, r#","x":{"y":["?"]}"#, r#","annotations":{"a":"?"}"#, r#","?":1"#] {
        let mut bytes = image(extra).into_bytes();
        ManifestView::parse(&bytes, Some(&oci())).unwrap();
        let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
        bytes[at] = 0xff;
        let error = ManifestView::parse(&bytes, Some(&oci())).unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{extra}: {error}");
    }
}

#[test]
fn a_type_in_capitals_is_the_same_type() {
    let capitals: MediaType = "Application/VND.oci.image.manifest.v1+JSON".parse().unwrap();
    let view = ManifestView::parse(image("").as_bytes(), Some(&capitals)).unwrap();
    assert_eq!((view.kind, view.media_type), (ManifestKind::Image, oci()));
    let own = image(&format!(r#","mediaType":"{}""#, MediaType::OCI_MANIFEST.to_uppercase()));
    assert_eq!(parsed(&own).unwrap().kind, ManifestKind::Image);
}

/// As long an index as a registry takes.
#[test]
fn reading_exactly_costs_little_more_than_reading() {
    let digest = Digest::sha256(b"");
    let child = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1234}}"#, MediaType::OCI_MANIFEST);
    let children = vec![child; 25_000].join(",");
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{children}]}}"#);
    // The best of several: other tests run at the same time.
    let best = |read: &dyn Fn() -> usize| {
        let times = (0..3).map(|_| {
            let start = std::time::Instant::now();
            assert_eq!(read(), 25_000);
            start.elapsed()
        });
        times.min().unwrap()
    };
    let index = MediaType::known(MediaType::OCI_INDEX);
    let exact = best(&|| ManifestView::parse(text.as_bytes(), Some(&index)).unwrap().manifests.len());
    let plain = best(&|| serde_json::from_str::<Body>(&text).unwrap().manifests.unwrap().len());
    assert!(exact < 3 * plain, "{exact:?} against {plain:?}");
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ManifestView::parse(&bytes, Some(&oci()));
    }

    #[test]
    fn damaged_manifests_never_panic(position in 0_usize..300, byte in any::<u8>()) {
        let mut bytes = image(r#","subject":null"#).into_bytes();
        if let Some(slot) = bytes.get_mut(position) {
            *slot = byte;
        }
        let _ = ManifestView::parse(&bytes, None);
    }

    /// Whatever the case of its letters, a known key is read as itself or not at all.
    #[test]
    fn no_other_case_of_a_known_key_is_taken(
        known in prop::sample::select(vec![
            "schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject",
            "annotations",
        ]),
        upper in proptest::collection::vec(any::<bool>(), 16),
    ) {
        let letters = known.chars().zip(&upper);
        let key: String = letters
            .map(|(letter, upper)| if *upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() })
            .collect();
        prop_assume!(key != known);
        let text = image(&format!(r#","{key}":null"#));
        prop_assert!(parsed(&text).is_err(), "{} was taken", key);
    }

    /// Where two readers could differ there is nothing to read: what is taken means the same read loosely.
    #[test]
    fn what_is_taken_is_what_any_reader_reads(
        keys in proptest::collection::vec("[lL]ayers|[cC]onfig|[xX]|layer[sſ]", 0..4),
    ) {
        let extra = keys.iter().fold(String::new(), |text, key| text + &format!(r#","{key}":[]"#));
        let text = image(&extra);
        if parsed(&text).is_ok() {
            let folded = |key: &String| key.to_lowercase().replace('ſ', "s");
            let unknown = keys.iter().all(|key| folded(key) == "x");
            let distinct: std::collections::HashSet<&String> = keys.iter().collect();
            prop_assert!(unknown && distinct.len() == keys.len(), "{text} was taken");
        } else {
            prop_assert!(!keys.is_empty(), "{text} was refused");
        }
    }
}

#[test]
fn spelling_in_another_case_is_kept_and_read_alike() {
    let declared: MediaType = "Application/VND.oci.image.manifest.v1+JSON".parse().unwrap();
    let text = image(r#","mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"A/Sbom""#);
    let view = ManifestView::parse(text.as_bytes(), Some(&declared)).unwrap();
    assert_eq!(view.kind, ManifestKind::Image);
    assert_eq!(view.media_type.as_sent(), "Application/VND.oci.image.manifest.v1+JSON");
    assert_eq!(view.effective_artifact_type().unwrap().to_string(), "A/Sbom");
}
