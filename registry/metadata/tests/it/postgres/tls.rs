//! Encrypted connections with passwords.

use std::{fs, os::unix::fs::PermissionsExt};

use rcgen::{CertificateParams, KeyPair};
use registry_metadata::{HealthMetadata, TestCluster};

use super::{connect, try_connect};

/// Gives the server a certificate for `localhost`, and a user who needs TLS and a password. The certificate.
fn secure_blocking(cluster: &TestCluster, folder: &std::path::Path) -> std::path::PathBuf {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let data = cluster.data_folder();
    for (name, content) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = data.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        cluster.give_blocking(&path);
    }
    let access = data.join("pg_hba.conf");
    let others = fs::read_to_string(&access).unwrap();
    fs::write(
        &access,
        format!("hostssl all guarded all scram-sha-256\nhost all guarded all reject\n{others}"),
    )
    .unwrap();
    cluster.sql_blocking("postgres", "CREATE ROLE guarded SUPERUSER LOGIN PASSWORD 'a pass:word'");
    cluster.sql_blocking("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.sql_blocking("postgres", "SELECT pg_reload_conf()");
    let trusted = folder.join("root.crt");
    fs::write(&trusted, certificate.pem()).unwrap();
    trusted
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_and_passwords_come_from_a_file() {
    let Some(cluster) = TestCluster::start_blocking() else { return };
    let database = cluster.database_blocking();
    let folder = tempfile::tempdir().unwrap();
    let root = tokio::task::block_in_place(|| secure_blocking(&cluster, folder.path()));
    let passwords = folder.path().join("passwords");
    fs::write(&passwords, "localhost:*:*:guarded:a pass\\:word\n127.0.0.1:*:*:guarded:a pass\\:word\n")
        .unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    let url = |host: &str, parameters: &str| {
        let (port, name, passwords) = (cluster.port(), database.name(), passwords.display());
        format!("postgres://guarded@{host}:{port}/{name}?passfile={passwords}&{parameters}")
    };
    let verified = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let store = connect(&url("localhost", &verified)).await;
    store.ping().await.unwrap();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE usename = 'guarded'";
    assert_eq!(tokio::task::block_in_place(|| database.sql_blocking(encrypted)).trim(), "t");

    for (refused, why) in [
        (url("localhost", "sslmode=require"), "a certificate of nobody we trust"),
        (url("127.0.0.1", &verified), "a certificate for another name"),
        (url("localhost", "sslmode=disable"), "a server that takes no plain connection"),
        (url("localhost", &verified).replace("guarded@", "guarded:wrong-word@"), "a wrong password"),
    ] {
        let error = try_connect(&refused).await.expect_err(why).to_string();
        assert!(!error.contains("pass:word") && !error.contains("wrong-word"), "{error}");
    }
}
