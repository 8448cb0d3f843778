use registry_types::Algorithm;

use super::*;

fn digest(byte: u8) -> Digest {
    format!("sha256:{}", hex(byte)).parse().expect("a digest")
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn layer(byte: u8, created: Option<&str>) -> LayerRecord {
    LayerRecord { diff_id: digest(byte), created: created.map(str::to_owned) }
}

#[test]
fn a_docker_config_survives_with_everything_it_had() {
    let text = r#"{"architecture":"arm64","variant":"v8","config":{"Hostname":"","User":"app","AttachStdin":false,
        "ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":null,"Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":30000000000},
        "ArgsEscaped":true,"Image":"","Volumes":null,"WorkingDir":"","Entrypoint":["/x"],"OnBuild":null,"Labels":{"a":"b"},
        "Shell":["/bin/bash","-c"],"StopSignal":"SIGQUIT"},"container":"abc","created":"2024-01-02T03:04:05.6Z",
        "docker_version":"20.10","history":[{"created":"2024-01-02T03:04:05.6Z","created_by":"x","empty_layer":true}],
        "os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:HEX"]}}"#
        .replace("HEX", &hex(7));
    let config = ImageConfig::from_json(text.as_bytes()).expect("a config");
    assert_eq!(config.config.exposed_ports, BTreeSet::from(["80/tcp".to_owned()]));
    assert_eq!(config.config.healthcheck.as_ref().map(|check| check.interval), Some(30_000_000_000));
    assert!(config.config.args_escaped && config.config.on_build.is_empty());
    assert_eq!(config.rootfs.diff_ids, [digest(7)]);
    assert_eq!(config.platform().to_string(), "linux/arm64/v8");
    let again: Value = serde_json::from_slice(&config.to_json()).expect("JSON");
    assert_eq!(again["container"], "abc");
    assert_eq!(again["config"]["Hostname"], "");
    assert_eq!(again["config"]["AttachStdin"], false);
    assert_eq!(again["config"]["ExposedPorts"]["80/tcp"], serde_json::json!({}));
    assert_eq!(again["config"]["StopSignal"], "SIGQUIT");
    assert_eq!(again["config"].get("Volumes"), None);
    assert_eq!(ImageConfig::from_json(&config.to_json()).expect("a config"), config);
}

#[test]
fn sealing_gives_layers_and_times() {
    let mut config = ImageConfig::scratch(&Platform::new("linux", "amd64", None));
    config.history.push(History { created: Some("2020".to_owned()), ..History::default() });
    config.record("ENV a=b".to_owned(), false);
    config.record("RUN x # buildkit".to_owned(), true);
    config.record("CMD [\"x\"]".to_owned(), false);
    let error = config.seal(&[layer(1, None)]).expect_err("one layer is missing");
    assert_eq!(error, SealProblem { expected: 2, given: 1 });
    config.seal(&[layer(1, None), layer(2, Some("2025"))]).expect("two layers");
    let times: Vec<Option<&str>> = config.history.iter().map(|entry| entry.created.as_deref()).collect();
    assert_eq!(times, [Some("2020"), Some("2025"), Some("2025"), Some("2025")]);
    assert_eq!(config.rootfs.diff_ids, [digest(1), digest(2)]);
    assert_eq!(config.created.as_deref(), Some("2025"));
    assert_eq!(config.rootfs.diff_ids[0].algorithm(), Algorithm::Sha256);
}

#[test]
fn metadata_on_a_base_takes_the_time_of_its_last_layer() {
    let mut config = ImageConfig::scratch(&Platform::new("linux", "amd64", None));
    config.history.push(History { created: Some("2020".to_owned()), ..History::default() });
    config.record("ENV a=b".to_owned(), false);
    config.seal(&[layer(1, None)]).expect("one layer");
    assert_eq!(config.history[1].created.as_deref(), Some("2020"));
    assert_eq!(config.created.as_deref(), Some("2020"));
}

#[test]
fn a_base_with_a_wrong_history_gets_a_right_one() {
    let mut config = ImageConfig { created: Some("2019".to_owned()), ..ImageConfig::default() };
    config.rootfs.diff_ids = vec![digest(1), digest(2)];
    config.complete_history();
    assert_eq!(config.history.len(), 2);
    assert!(
        config.history.iter().all(|entry| !entry.empty_layer && entry.created.as_deref() == Some("2019"))
    );
    config.rootfs.diff_ids.pop();
    config.complete_history();
    let empty: Vec<bool> = config.history.iter().map(|entry| entry.empty_layer).collect();
    assert_eq!(empty, [false, true]);
}
