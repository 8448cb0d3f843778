//! What a registry may answer our client: links and challenges.

use registry_client::fuzzing::{bearer_realms, next_target};

pub(crate) fn run(input: &[u8]) {
    let text = super::text(input);
    if let Some(target) = next_target(&text) {
        assert!(text.contains(target));
        // Spaces at its ends and brackets within do not survive, all else does.
        if !target.contains(['<', '>']) {
            assert_eq!(next_target(&format!("<{target}>; rel=\"next\"")), Some(target));
        }
    }
    for realm in bearer_realms(&text) {
        assert!(!realm.is_empty());
        let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
        assert_eq!(bearer_realms(&format!("Bearer realm=\"{quoted}\"")), [realm]);
    }
}
