//! One connection: how its session is set up, and statements that are prepared once for its life.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio_postgres::{Client, Config, Row, Statement, config::TargetSessionAttrs, types::ToSql};

use super::{error::Failure, tls::TlsConnector};

/// How long a host may take to answer before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection may be silent before it is probed, between probes, and how long sent bytes may stay
/// unacknowledged: a server that vanished is noticed within ten seconds instead of the system's quarter of an hour.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// How long the server lets a transaction of ours hold locks without a word, in milliseconds: longer than any pause
/// of ours, and short for those who wait behind a replica that vanished.
const IDLE_IN_TRANSACTION_MILLISECONDS: u32 = 10_000;

/// How queries are planned. Each of ours is answered by a few looks into indexes; a planner that guesses how many rows
/// there are, or how many a LIMIT lets through, would now and then read a table instead. Compiling such a query takes
/// longer than answering it.
pub(super) const PLANNING: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
     SET enable_mergejoin = off; SET jit = off";

/// Undoes [`PLANNING`] within a transaction that reads whole tables, which may take its time.
pub(super) const WHOLE_TABLES: &str = "SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on;
     SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";

/// How connections are made.
#[derive(Debug)]
pub(super) struct Connector {
    config: Config,
    tls: TlsConnector,
    session: String,
}

impl Connector {
    pub(super) fn new(mut config: Config, tls: TlsConnector, statement_timeout: Duration) -> Self {
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED)
            // With several hosts, the one that takes writes.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        // What correctness rests on is said here, whatever the server's or the role's defaults are. A commit is
        // durable when it is acknowledged: stronger settings (such as waiting for a standby) stay as they are.
        let session = format!(
            "{PLANNING};
             SET statement_timeout = {};
             SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MILLISECONDS};
             SET default_transaction_isolation = 'read committed';
             SELECT set_config('synchronous_commit', 'on', false)
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            statement_timeout.as_millis()
        );
        Self { config, tls, session }
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, driver) = connected.map_err(|error| Failure::connecting(&error))?;
        // Ends when the client is dropped or the connection breaks; whoever waits for an answer is told why.
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(error = %Failure::connecting(&error).into_error(), "a connection ended");
            }
        });
        client.batch_execute(&self.session).await?;
        Ok(Connection { client, statements: Mutex::default() })
    }
}

/// A session with the server. Queries are the program's own texts, so the statements kept are as many as those.
pub(super) struct Connection {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

/// What a query is given.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Connection {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn statement(&self, query: &'static str) -> Result<Statement, Failure> {
        let kept = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(query).cloned();
        if let Some(statement) = kept {
            return Ok(statement);
        }
        let statement = self.client.prepare(query).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(query, statement.clone());
        Ok(statement)
    }

    pub(super) async fn rows(
        &self,
        query: &'static str,
        values: Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let statement = self.statement(query).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    /// The row, if there is one.
    pub(super) async fn row(
        &self,
        query: &'static str,
        values: Parameters<'_>,
    ) -> Result<Option<Row>, Failure> {
        let statement = self.statement(query).await?;
        Ok(self.client.query_opt(&statement, values).await?)
    }

    /// The row that a query gives in any case.
    pub(super) async fn one(&self, query: &'static str, values: Parameters<'_>) -> Result<Row, Failure> {
        let statement = self.statement(query).await?;
        Ok(self.client.query_one(&statement, values).await?)
    }

    /// Rows changed.
    pub(super) async fn execute(&self, query: &'static str, values: Parameters<'_>) -> Result<u64, Failure> {
        let statement = self.statement(query).await?;
        Ok(self.client.execute(&statement, values).await?)
    }

    /// Rows of a query that is not asked again and so not kept.
    pub(super) async fn rows_once(
        &self,
        query: &str,
        values: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.client.query(query, values).await
    }

    /// Statements without values or rows, such as COMMIT.
    pub(super) async fn command(&self, command: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(command).await?)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
