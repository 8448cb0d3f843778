//! Several replicas of the registry on one PostgreSQL and one S3 server, behind nginx, which sends each request to the
//! next of them. Everything ends with it.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    Options, Registry,
    http::Server,
    postgres_cluster::TestCluster,
    program,
    s3_server::{ACCESS_KEY, BUCKET, REGION, S3Server, SECRET_KEY},
    skip, tool,
};

const NGINX: &str = "/usr/sbin/nginx";
/// How long nginx may take to listen.
const START_TIME: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Replicas {
    balancer: Balancer,
    pub replicas: Vec<Registry>,
    pub s3: S3Server,
    pub postgres: TestCluster,
}

impl Replicas {
    /// Starts `count` replicas with these further arguments. `None`: something that they need is not installed,
    /// which was said.
    pub fn start(count: usize, arguments: &[&str]) -> Result<Option<Self>> {
        let (Some(versitygw), Some(nginx)) = (tool("versitygw"), program(NGINX)) else {
            skip("versitygw or nginx is not installed");
            return Ok(None);
        };
        let Some(postgres) = TestCluster::start_blocking() else { return Ok(None) };
        let s3 = S3Server::start(&versitygw)?;
        let database = postgres.database_blocking().url();
        let environment = [
            ("SLIPWAY_REGISTRY_METADATA_URL", format!("{database}?sslmode=disable")),
            ("SLIPWAY_REGISTRY_BLOBS_URL", format!("s3://{BUCKET}/registry")),
            ("SLIPWAY_REGISTRY_BLOBS_ENDPOINT", format!("http://{}", s3.address())),
            ("SLIPWAY_REGISTRY_BLOBS_REGION", REGION.to_owned()),
            ("SLIPWAY_REGISTRY_BLOBS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ];
        let options = Options {
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            ..Options::with(&[&["--trusted-proxy", "127.0.0.1"], arguments].concat())
        };
        let replicas = (0..count).map(|_| Registry::start(options.clone())).collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(nginx.into(), &replicas)?;
        Ok(Some(Self { balancer, replicas, s3, postgres }))
    }

    /// The address of the balancer.
    pub fn http(&self) -> Server {
        Server(self.balancer.address)
    }

    /// The balancer's host and port as clients on this machine write them.
    pub fn name(&self) -> String {
        self.balancer.address.to_string()
    }

    /// The password of `admin`, which one of the replicas made.
    pub fn password(&self) -> Result<String> {
        let mut passwords = self.replicas.iter().filter_map(|replica| replica.password().ok());
        passwords.next().context("no replica made an administrator")
    }
}

/// nginx, sending each request to the next replica, and one whose replica is gone to another.
#[derive(Debug)]
struct Balancer {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Balancer {
    fn start(nginx: PathBuf, replicas: &[Registry]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("slipway-balancer-").tempdir()?;
        // Free at this moment; another process that takes it makes the start fail, which is told.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let servers: Vec<String> =
            replicas.iter().map(|replica| format!("server {} max_fails=0;", replica.name())).collect();
        let servers = servers.join(" ");
        let (path, config) = (folder.path().display(), folder.path().join("nginx.conf"));
        fs::write(
            &config,
            format!(
                "daemon off; pid {path}/pid; error_log {path}/log; worker_processes 1;
                 events {{ worker_connections 4096; }}
                 http {{
                     access_log off;
                     client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                     fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;
                     upstream registry {{ {servers} }}
                     server {{
                         listen {address};
                         client_max_body_size 0;
                         proxy_buffering off; proxy_request_buffering off; proxy_http_version 1.1;
                         proxy_next_upstream error timeout http_503;
                         location / {{
                             proxy_pass http://registry;
                             proxy_set_header Host $http_host;
                             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                             proxy_set_header X-Forwarded-Proto $scheme;
                         }}
                     }}
                 }}"
            ),
        )?;
        let mut command = Command::new(&nginx);
        command.arg("-c").arg(&config).arg("-p").arg(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut balancer = Self { child, address, folder };
        let until = Instant::now() + START_TIME;
        while TcpStream::connect(address).is_err() {
            let ended = balancer.child.try_wait()?;
            let log = || fs::read_to_string(balancer.folder.path().join("log")).unwrap_or_default();
            ensure!(ended.is_none() && Instant::now() < until, "nginx does not listen: {}", log());
            sleep(Duration::from_millis(20));
        }
        Ok(balancer)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Its master takes the workers along only when it is asked to.
        if crate::command::terminate(&self.child).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
