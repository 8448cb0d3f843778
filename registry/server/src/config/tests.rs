use registry_core::EventAction;

use super::*;

fn load(text: &str, environment: &[(&str, &str)], flags: Overrides) -> Result<Config, ServerError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry.toml");
    std::fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&file), environment, flags)
}

fn message(result: Result<Config, ServerError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let mut flags = Overrides::default();
    flags.set("listen", Some("127.0.0.1:3"));
    let config = load(
        "listen = '127.0.0.1:1'\ndata = 'from-file'\n[auth]\nmode = 'none'",
        &[("SLIPWAY_REGISTRY_LISTEN", "127.0.0.1:2"), ("SLIPWAY_REGISTRY_LIMITS_SPARSE_MANIFESTS", "true")],
        flags,
    )
    .unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data, Path::new("from-file"));
    assert_eq!(config.auth.mode, AuthMode::None);
    assert!(config.limits.sparse_manifests);
    assert_eq!(config.auth.token_seconds, 300);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    assert!(message(load("lisen = 'x'", &[], Overrides::default())).contains("did you mean listen?"));
    assert!(
        message(load("[auth]\nmod = 'x'", &[], Overrides::default())).contains("did you mean auth.mode?")
    );
    let variable = message(load("", &[("SLIPWAY_REGISTRY_AUTH_MODUS", "x")], Overrides::default()));
    assert!(variable.contains("did you mean SLIPWAY_REGISTRY_AUTH_MODE?"), "{variable}");
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_not_ours() {
    let links = [
        ("SLIPWAY_REGISTRY_PORT", "tcp://10.0.0.1:5050"),
        ("SLIPWAY_REGISTRY_PORT_5050_TCP_ADDR", "10.0.0.1"),
        ("SLIPWAY_REGISTRY_SERVICE_HOST", "10.0.0.1"),
        ("SLIPWAY_REGISTRY_SERVICE_PORT", "5050"),
    ];
    assert_eq!(load("", &links, Overrides::default()).unwrap(), Config::default());
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    let text = message(load("", &[("SLIPWAY_REGISTRY_AUTH_TOKEN_SECONDS", "soon")], Overrides::default()));
    assert!(text.contains("it must be a whole number"), "{text}");
    load("listen = 5", &[], Overrides::default()).unwrap_err();
}

#[test]
fn lists_come_from_files_and_with_commas_from_variables() {
    let from_file = load("trusted_proxies = ['10.0.0.0/8', '::1']", &[], Overrides::default()).unwrap();
    assert_eq!(from_file.http_settings().trusted_proxies.len(), 2);
    let variable = |text| load("", &[("SLIPWAY_REGISTRY_TRUSTED_PROXIES", text)], Overrides::default());
    assert_eq!(variable(" 10.0.0.0/8,::1,").unwrap(), from_file);
    assert_eq!(variable("").unwrap(), Config::default());
    assert_eq!(load(&from_file.to_toml(), &[], Overrides::default()).unwrap(), from_file);
    let refused = message(variable("10.0.0.0/8,proxy.example"));
    assert!(refused.contains("proxy.example") && refused.contains("trusted_proxies"), "{refused}");
}

#[test]
fn a_guessed_realm_is_told_once_it_matters() {
    let told = |text: &str| load(text, &[], Overrides::default()).unwrap().guessed_realm();
    let plain = told("").expect("a warning");
    assert!(plain.contains("/jwt/auth") && plain.contains("trusted_proxies"), "{plain}");
    assert!(!told("trusted_proxies = ['10.0.0.1']").expect("a warning").contains("trusted_proxies"));
    for quiet in ["external_url = 'https://host'", "listen = '127.0.0.1:1'", "listen = '[::1]:1'"] {
        assert_eq!(told(quiet), None, "{quiet}");
    }
    assert_eq!(told("auth.mode = 'none'\nauth.allow_none_anywhere = true"), None);
}

#[test]
fn contradictions_are_refused() {
    let refused = |text: &str, part: &str| {
        let message = message(load(text, &[], Overrides::default()));
        assert!(message.contains(part), "{message}");
    };
    refused("[tls]\ncertificate = 'a'", "go together");
    refused("[tls]\nrequired = true", "needs a certificate");
    refused("[auth]\nmode = 'none'", "would let everyone push");
    refused("[auth]\nmode = 'gitlab'", "auth.gitlab.realm");
    refused("[auth]\ntoken_seconds = 5", "at least 60");
    refused("[auth]\ntoken_seconds = 100000", "at most 86400");
    refused("[limits]\nmanifest_bytes = 5", "at least 4194304");
    refused("external_url = 'http://host/path'", "without a path");
    refused("external_url = 'http://user:word@host'", "without a path");
    refused("[limits]\nupload_idle_seconds = 999999999999", "at most");
}

#[test]
fn the_printed_configuration_reads_back() {
    let config = load("[auth]\ntoken_seconds = 600", &[], Overrides::default()).unwrap();
    assert_eq!(load(&config.to_toml(), &[], Overrides::default()).unwrap(), config);
}

const POLICIES: &str = r#"
[limits]
layer_bytes = "10GiB"
read_only = true

[[tag_rules]]
repositories = "team/**"
tags = "v*"
immutable = true

[[tag_rules]]
repositories = "team/**"
tags = "release-*"
protected = ["account:ci"]

[[quotas]]
prefix = "team"
bytes = "50GiB"

[[retention]]
prefix = "*"
schedule = "daily 03:00"
[retention.rule]
keep_newest = 10
keep_tags = ["latest"]
"#;

#[test]
fn policies_are_read_and_printed() {
    let config = load(POLICIES, &[], Overrides::default()).unwrap();
    let limits = config.limits();
    assert_eq!((limits.layer_bytes, limits.read_only, limits.tag_rules.len()), (Some(10 << 30), true, 2));
    assert_eq!(config.configured_quota(&"team".parse().unwrap()).map(|bytes| bytes.0), Some(50 << 30));
    assert_eq!(config.configured_retention()[0].rule.keep_newest, Some(10));
    assert_eq!(load(&config.to_toml(), &[], Overrides::default()).unwrap(), config);
}

#[test]
fn a_policy_with_a_slip_is_refused() {
    for (right, wrong, told) in [
        ("immutable = true", "imutable = true", "imutable"),
        ("immutable = true", "immutable = false", "needs either"),
        ("keep_newest", "keep_latest", "keep_latest"),
        ("daily 03:00", "daily 3", "not a schedule"),
        ("50GiB", "50GB", "not a number of bytes"),
        ("keep_newest = 10\n", "", "remove every tag"),
        ("10GiB", "0", "layer_bytes"),
    ] {
        assert!(POLICIES.contains(right), "{right}");
        let refused = message(load(&POLICIES.replace(right, wrong), &[], Overrides::default()));
        assert!(refused.contains(told), "{refused}");
    }
    let variable = message(load("", &[("SLIPWAY_REGISTRY_QUOTAS", "team=5")], Overrides::default()));
    assert!(variable.contains("only be set in the configuration file"), "{variable}");
    let size = load("", &[("SLIPWAY_REGISTRY_LIMITS_LAYER_BYTES", "1GiB")], Overrides::default()).unwrap();
    assert_eq!(size.limits().layer_bytes, Some(1 << 30));
}

#[test]
fn endpoints_come_from_the_file_and_their_headers_are_not_shown() {
    let text = "[admin]\nlisten = '127.0.0.1:5051'\n[[events.endpoints]]\nname = 'gitlab'\nurl = 'https://gitlab.example/api/v4/container_registry_event/events'\nactions = ['push', 'delete']\nheaders = { Authorization = 'a secret' }\nrepositories = ['team/**']";
    let config = load(text, &[], Overrides::default()).unwrap();
    let endpoint = &config.events.endpoints[0];
    assert_eq!(endpoint.header_map().unwrap()["authorization"], "a secret");
    assert_eq!((endpoint.timeout_seconds, endpoint.filter().actions.len()), (5, 2));
    assert!(endpoint.filter().repositories[0].matches(&"team/app".parse().unwrap()));
    let shown = format!("{config:?}{}{:?}", config.to_toml(), endpoint.header_map().unwrap());
    assert!(!shown.contains("a secret") && config.to_toml().contains("(not shown)"), "{shown}");
    let usual = "[[events.endpoints]]\nname = 'hook'\nurl = 'http://host'";
    let usual = load(usual, &[], Overrides::default()).unwrap().events.endpoints.remove(0);
    assert_eq!(usual.actions, [EventAction::Push, EventAction::Mount, EventAction::Delete]);
}

#[test]
fn wrong_endpoints_are_refused_without_their_secrets() {
    let refused = |lines: &str, part: &str| {
        let text = format!("[[events.endpoints]]\nname = 'hook'\n{lines}");
        let message = message(load(&text, &[], Overrides::default()));
        assert!(message.contains(part) && !message.contains("secret"), "{message}");
    };
    refused("url = 'ftp://host'", "http:// or https://");
    refused("url = 'https://user:secret@host'", "take the login out");
    refused("url = 'http://host'\nactions = []", "some of push, pull, mount, delete");
    refused("url = 'http://host'\nactions = ['rename']", "rename");
    refused("url = 'http://host'\ntimeout_seconds = 0", "from 1 to 600");
    refused("url = 'http://host'\nheader = 5", "header");
    refused("url = 'http://host'\nrepositories = ['A']", "A");
    refused("url = 'http://host'\nheaders = { 'no name' = 'secret' }", "no name");
    refused("url = 'http://host'\nheaders = { X = \"secret\\n\" }", "X");
    refused("url = 'http://host'\nheaders = { X = \"secret }", "line 4");
    refused("url = 'http://host'\n[[events.endpoints]]\nname = 'hook'\nurl = 'http://b'", "two of this name");
    let variable = load("", &[("SLIPWAY_REGISTRY_EVENTS_ENDPOINTS", "secret")], Overrides::default());
    let told = message(variable);
    assert!(told.contains("in the configuration file") && !told.contains("secret"), "{told}");
    let keep = load("[events]\nkeep_seconds = 9\nlongest_seconds = 8", &[], Overrides::default());
    assert!(message(keep).contains("events.longest_seconds"));
    let admin = load("listen = '127.0.0.1:5'\n[admin]\nlisten = '127.0.0.1:5'", &[], Overrides::default());
    assert!(message(admin).contains("admin.listen"));
}

#[test]
fn upstreams_are_read_and_printed_and_slips_in_them_are_told() {
    let text = "[[upstreams]]\nprefix = 'docker.io/'\nurl = 'https://registry-1.docker.io'\n";
    let config = load(text, &[], Overrides::default()).unwrap();
    assert_eq!((config.upstreams.len(), config.upstreams[0].revalidate_seconds), (1, 300));
    assert_eq!(load(&config.to_toml(), &[], Overrides::default()).unwrap(), config);
    let slip = message(load(&format!("{text}revalidate = 5"), &[], Overrides::default()));
    assert!(slip.contains("revalidate_seconds"), "{slip}");
    let twice = message(load(&format!("{text}{text}"), &[], Overrides::default()));
    assert!(twice.contains("two upstreams"), "{twice}");
    let variable = message(load("", &[("SLIPWAY_REGISTRY_UPSTREAMS", "docker.io")], Overrides::default()));
    assert!(variable.contains("upstreams"), "{variable}");
}
