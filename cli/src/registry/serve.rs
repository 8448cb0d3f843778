//! `slipway registry serve`

use std::path::PathBuf;

use registry_server::{AuthMode, Config, Overrides, Server, client_instructions};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{AuthChoice, Serve},
    failure::{Failure, exit_code_of_signal},
};

pub(crate) async fn run(arguments: Serve) -> Result<(), Failure> {
    #[cfg(feature = "failpoints")]
    let _failpoints = die_at_failpoints();
    let config = Config::load(arguments.config.as_deref(), registry_variables(), overrides(&arguments)?)?;
    if arguments.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let server = Server::prepare(config).await?;
    announce(&server);
    let stop = CancellationToken::new();
    let signals = stop_on_signal(stop.clone())?;
    server.serve(stop).await;
    signals.abort();
    tracing::info!("stopped; every acknowledged write is on disk");
    Ok(())
}

/// Sets the failpoints that `FAILPOINTS` names, and makes a panic end the process as a crash would: at once, with
/// nothing flushed. Only in the builds that crash tests kill.
#[cfg(feature = "failpoints")]
fn die_at_failpoints() -> fail::FailScenario<'static> {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
    fail::FailScenario::setup()
}

/// The variables of the environment that may be settings: not those that name the file and the log, and none that is
/// no text.
pub(super) fn registry_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name != "SLIPWAY_REGISTRY_CONFIG")
}

/// A path as a value of the configuration.
pub(super) fn text(path: Option<&PathBuf>) -> Result<Option<String>, Failure> {
    match path.map(|path| path.to_str().ok_or(path)) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(path)) => {
            Err(Failure::Usage(format!("the path {} is not UTF-8: use another", path.display())))
        }
    }
}

fn overrides(arguments: &Serve) -> Result<Overrides, Failure> {
    let set = |flag: bool| flag.then_some(true);
    let mut overrides = Overrides::default();
    overrides.set("data", text(arguments.data.as_ref())?);
    overrides.set("listen", arguments.listen.clone());
    overrides.set("external_url", arguments.external_url.clone());
    let proxies = &arguments.trusted_proxy;
    overrides.set("trusted_proxies", (!proxies.is_empty()).then(|| proxies.clone()));
    overrides.set("tls.certificate", text(arguments.tls_cert.as_ref())?);
    overrides.set("tls.key", text(arguments.tls_key.as_ref())?);
    overrides.set("tls.self_signed", arguments.tls.map(|_| true));
    overrides.set("tls.required", set(arguments.tls_required));
    overrides.set(
        "auth.mode",
        arguments.auth.map(|mode| match mode {
            AuthChoice::None => "none",
            AuthChoice::Token => "token",
            AuthChoice::Gitlab => "gitlab",
        }),
    );
    overrides.set("auth.allow_none_anywhere", set(arguments.allow_none_anywhere));
    overrides.set("auth.gitlab.realm", arguments.gitlab_realm.clone());
    overrides.set("auth.gitlab.certificates", text(arguments.gitlab_certificates.as_ref())?);
    overrides.set("auth.issuer", arguments.issuer.clone());
    overrides.set("auth.service", arguments.service.clone());
    overrides.set("limits.sparse_manifests", set(arguments.sparse_manifests));
    Ok(overrides)
}

/// Tells where the registry is and how to use it.
fn announce(server: &Server) {
    let config = server.config();
    let port = server.address().port();
    let host =
        match config.external_url.as_ref().and_then(|url| url.host_str().map(|host| (host, url.port()))) {
            Some((host, Some(port))) => format!("{host}:{port}"),
            Some((host, None)) => host.to_owned(),
            None => format!("localhost:{port}"),
        };
    let scheme = match (config.has_tls(), config.tls.required) {
        (true, true) => "TLS",
        (true, false) => "HTTP and TLS",
        (false, _) => "HTTP",
    };
    tracing::info!(
        "the registry {host} speaks {scheme} on {}; its data is in {}",
        server.address(),
        config.data.display()
    );
    if let Some(address) = server.admin_address() {
        tracing::info!("metrics and health are on {address} (/metrics, /livez, /readyz), by plain HTTP");
    }
    if let Some(file) = server.new_admin() {
        tracing::info!(
            "first start: the password of admin is in {}; log in with\n  docker login {host} -u admin --password-stdin < {}",
            file.display(),
            file.display()
        );
    }
    if config.auth.mode == AuthMode::None {
        tracing::warn!("authorization is off: everyone who reaches this address may push and delete");
    }
    if let Some(own) = server.self_signed() {
        tracing::info!("{}", client_instructions(&own.authority, &host));
    }
}

/// Cancels `stop` on SIGTERM or SIGINT. A second signal ends the process at once.
fn stop_on_signal(stop: CancellationToken) -> Result<JoinHandle<()>, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        for last in [false, true] {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if last {
                std::process::exit(i32::from(exit_code_of_signal(kind)));
            }
            tracing::info!("stopping: requests in hand are finished; a second signal ends at once");
            stop.cancel();
        }
    }))
}
