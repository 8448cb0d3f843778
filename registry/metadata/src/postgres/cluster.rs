//! PostgreSQL for tests: a cluster of the system's own version in a temporary folder, with durable commits as in
//! production. It ends with the process that started it, however that ends: a shell that waits for the end of its
//! input stops the server and removes the folder.

use std::{
    env, fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The server refuses to run as root; then it runs as the system's user of this name.
const SYSTEM_USER: &str = "postgres";

/// Ports tried, for another program may take one between its choice and the server's start.
const PORTS_TRIED: usize = 5;

/// Settings beside the defaults. Texts sort by a language's rules unless a column says otherwise, which shows
/// whether ours do.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'\nmax_connections = 300\nshared_buffers = 64MB\n";

/// Waits for the end of its input, then clears up. $1: the folder of programs, $2: the cluster's folder.
const CLEAR_UP: &str = "cat > /dev/null; \"$1/pg_ctl\" -D \"$2/data\" -m immediate -s stop; rm -rf \"$2\"";

/// A running server that holds databases of tests.
#[derive(Debug)]
pub struct TestCluster {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    as_system_user: bool,
    /// Clears up once its input is closed.
    keeper: Child,
    databases: AtomicU64,
}

impl TestCluster {
    /// The cluster of this process, started when first asked for. `None`: PostgreSQL is not installed, which is
    /// said on standard error.
    ///
    /// # Panics
    /// When the server does not start; in CI (`CI=true`) also when it is not installed.
    pub fn shared_blocking() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<TestCluster>> = OnceLock::new();
        SHARED.get_or_init(Self::start_blocking).as_ref()
    }

    /// A cluster of one's own, to stop and start.
    ///
    /// # Panics
    /// As [`Self::shared_blocking`].
    pub fn start_blocking() -> Option<Self> {
        match Self::try_start_blocking() {
            Ok(cluster) => Some(cluster),
            Err(Missing(reason)) => {
                let in_ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
                assert!(!in_ci, "skipped in CI: {reason}");
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    fn try_start_blocking() -> Result<Self, Missing> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("slipway-postgres-").tempdir().expect("a folder").keep();
        let as_system_user = fs::metadata("/proc/self")
            .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
        if as_system_user {
            let (user, group) = system_user()?;
            chown(&folder, Some(user), Some(group)).expect("root gives a folder away");
        }
        let mut clear_up = command(as_system_user, Path::new("/bin/sh"), &folder);
        clear_up.args(["-c", CLEAR_UP, "sh"]).arg(&programs).arg(&folder).process_group(0);
        let keeper = clear_up.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let keeper = keeper.expect("a shell is started");
        let mut cluster =
            Self { programs, folder, port: 0, as_system_user, keeper, databases: AtomicU64::new(0) };
        cluster.create_blocking();
        Ok(cluster)
    }

    fn create_blocking(&mut self) {
        let data = self.folder.join("data");
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(&data).args(["-U", SYSTEM_USER, "-A", "trust", "-E", "UTF8", "--no-sync"]);
        initdb.args(["--locale-provider=icu", "--icu-locale=en", "--locale=C.UTF-8", "--no-instructions"]);
        run(&mut initdb).expect("a cluster is made");
        let settings = data.join("postgresql.conf");
        let defaults = fs::read_to_string(&settings).expect("initdb wrote it");
        for tried in 1..=PORTS_TRIED {
            self.port = free_port();
            let own =
                format!("port = {}\nunix_socket_directories = '{}'\n", self.port, self.folder.display());
            fs::write(&settings, format!("{defaults}\n{SETTINGS}{own}")).expect("settings are written");
            match self.try_up_blocking() {
                Ok(()) => return,
                Err(reason) => assert!(tried < PORTS_TRIED, "PostgreSQL does not start: {reason}"),
            }
        }
    }

    /// A new, empty database.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn database_blocking(&self) -> TestDatabase<'_> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql_blocking("postgres", &format!("CREATE DATABASE {name}"));
        TestDatabase { cluster: self, name }
    }

    /// Runs SQL as the cluster's owner and gives what it printed, a line for each row.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql_blocking(&self, database: &str, sql: &str) -> String {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SYSTEM_USER, "-d", database]);
        psql.arg("-h").arg(&self.folder).arg("-p").arg(self.port.to_string()).arg("-c").arg(sql);
        run(&mut psql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Stops the server as a crash does: at once, with nothing written that was not durable already.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn crash_blocking(&self) {
        run(self.control().args(["-m", "immediate", "-w", "stop"])).expect("the server stops");
    }

    /// Stops the server in order, ending its connections.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop_blocking(&self) {
        run(self.control().args(["-m", "fast", "-w", "stop"])).expect("the server stops");
    }

    /// Starts a stopped server.
    ///
    /// # Panics
    /// When it does not start.
    pub fn up_blocking(&self) {
        self.try_up_blocking().expect("the server starts");
    }

    /// The folder of the server's data, for its certificate and settings.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Gives a file to the server's user.
    ///
    /// # Panics
    /// When it cannot.
    pub fn give_blocking(&self, path: &Path) {
        if self.as_system_user {
            let (user, group) = system_user().expect("it was found before");
            chown(path, Some(user), Some(group)).expect("root gives a file away");
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn try_up_blocking(&self) -> Result<(), String> {
        let log = self.folder.join("log");
        run(self.control().arg("-l").arg(&log).args(["-w", "start"]))
            .map(drop)
            .map_err(|error| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default()))
    }

    fn control(&self) -> Command {
        let mut control = self.program("pg_ctl");
        control.arg("-s").arg("-D").arg(self.folder.join("data"));
        control
    }

    fn program(&self, name: &str) -> Command {
        command(self.as_system_user, &self.programs.join(name), &self.folder)
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Only a folder under the temporary one would be left.
        let _ = self.keeper.wait();
    }
}

/// A database of one test. It goes with the cluster: removing one takes the server longer than making it.
#[derive(Debug)]
pub struct TestDatabase<'a> {
    cluster: &'a TestCluster,
    name: String,
}

impl TestDatabase<'_> {
    /// Its address.
    pub fn url(&self) -> String {
        format!("postgres://{SYSTEM_USER}@127.0.0.1:{}/{}", self.cluster.port, self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// [`TestCluster::sql_blocking`] within this database.
    pub fn sql_blocking(&self, sql: &str) -> String {
        self.cluster.sql_blocking(&self.name, sql)
    }

    /// Ends every connection to it, as an administrator may.
    pub fn terminate_blocking(&self) {
        // Waits for each to end, and is connected to another database.
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname =";
        self.cluster.sql_blocking("postgres", &format!("{end} '{}'", self.name));
    }
}

/// Why there is no PostgreSQL.
#[derive(Debug)]
struct Missing(String);

/// The programs of the youngest version.
fn programs() -> Result<PathBuf, Missing> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    versions
        .filter(|programs| ["initdb", "pg_ctl", "psql"].iter().all(|name| programs.join(name).exists()))
        .max()
        .ok_or_else(|| Missing(format!("PostgreSQL is not in {VERSIONS}: apt-get install postgresql")))
}

/// User and group that the server runs as when we are root.
fn system_user() -> Result<(u32, u32), Missing> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == SYSTEM_USER).then_some(())?;
            Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .ok_or_else(|| {
            Missing(format!("there is no user {SYSTEM_USER}, and the server refuses to run as root"))
        })
}

/// A program run in `folder`, as the system's user if we are root.
fn command(as_system_user: bool, program: &Path, folder: &Path) -> Command {
    let mut command = if as_system_user {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--init-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<String, String> {
    // Not a pipe for what a started server inherits: reading it would wait for the server's end.
    let (mut said, mut printed) = (tempfile::tempfile().map_err(text)?, tempfile::tempfile().map_err(text)?);
    let status = command
        .stdout(printed.try_clone().map_err(text)?)
        .stderr(said.try_clone().map_err(text)?)
        .status()
        .map_err(text)?;
    if status.success() { content(&mut printed) } else { Err(format!("{status}: {}", content(&mut said)?)) }
}

fn content(file: &mut fs::File) -> Result<String, String> {
    let mut content = String::new();
    io::Seek::rewind(file).map_err(text)?;
    io::Read::read_to_string(file, &mut content).map_err(text)?;
    Ok(content)
}

fn text(error: io::Error) -> String {
    error.to_string()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("a listener has an address").port()
}
