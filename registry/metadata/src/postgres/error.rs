//! What PostgreSQL's errors mean: whether the same operation may be tried again and on which connection, and what
//! a caller is told when it is not. A reason never holds a statement's values: the details that the server adds,
//! which do, are left out.

use std::{error::Error as _, io};

use tokio_postgres::{Error, error::DbError};

use crate::MetadataError;

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The operation's own answer, or an error that another attempt would meet again.
    Final(MetadataError),
    /// The server undid the transaction for the sake of another; the connection is whole.
    Undone(MetadataError),
    /// The connection is lost, or is to a server that is no use. What was not committed before is undone.
    Lost(MetadataError),
}

impl Failure {
    pub(super) fn lost(reason: impl Into<String>) -> Self {
        Self::Lost(unavailable(reason))
    }

    /// What connecting to the server met.
    pub(super) fn connecting(error: &Error) -> Self {
        let reason = format!("no connection to PostgreSQL: {}", described(error));
        match error.as_db_error() {
            Some(database) if may_pass(database.code().code()) => Self::lost(reason),
            // A wrong password, an unknown database: waiting does not mend it.
            Some(_) => Self::Final(unavailable(reason)),
            None if is_about_the_wire(error) => Self::lost(reason),
            None if error.to_string().contains("TLS") => Self::Final(unavailable(format!(
                "{reason}: give sslrootcert=FILE for a root of your own, or sslmode=disable on a network that is yours"
            ))),
            None => Self::Final(unavailable(reason)),
        }
    }

    pub(super) fn into_error(self) -> MetadataError {
        match self {
            Self::Final(error) | Self::Undone(error) | Self::Lost(error) => error,
        }
    }
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        Self::Final(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(database) => from_database(database),
            None if is_about_the_wire(&error) => {
                Self::lost(format!("the connection to PostgreSQL broke: {}", described(&error)))
            }
            // The rest is about values: a column of another type, text that does not parse, a missing row.
            None => Self::Final(MetadataError::Damaged { reason: described(&error) }),
        }
    }
}

fn from_database(error: &DbError) -> Failure {
    let code = error.code().code();
    let reason = format!("{} (PostgreSQL code {code})", error.message());
    match code {
        // serialization_failure, deadlock_detected, lock_not_available.
        "40001" | "40P01" | "55P03" => Failure::Undone(unavailable(reason)),
        // read_only_sql_transaction: the server became a standby, another is the primary now.
        "25006" => Failure::lost(reason),
        // idle_in_transaction_session_timeout, idle_session_timeout.
        "25P03" | "57P05" => Failure::lost(reason),
        // feature_not_supported is what a plan kept across a migration answers; a new connection has no old plans.
        "0A000" if error.message().contains("cached plan") => Failure::lost(reason),
        // disk_full.
        "53100" => Failure::Final(MetadataError::Full),
        // query_canceled: it met the statement timeout, and so would the next attempt.
        "57014" => Failure::Final(unavailable(reason)),
        _ if may_pass(code) => Failure::lost(reason),
        _ => Failure::Final(MetadataError::Damaged { reason }),
    }
}

/// Codes of a server that is starting, stopping, full or failing, or of a connection that is none any more: class
/// 08 connection exceptions, 53 insufficient resources, 57P operator intervention, 58 system errors.
fn may_pass(code: &str) -> bool {
    ["08", "53", "57P", "58"].into_iter().any(|class| code.starts_with(class))
}

/// Whether the bytes did not come through, in contrast to what they say.
fn is_about_the_wire(error: &Error) -> bool {
    // A timeout has no cause to look at; its text is the driver's own.
    let timeout = error.source().is_none() && error.to_string().contains("timeout");
    let failed = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    // A certificate that is not trusted comes as an error of the stream, and stays untrusted.
    let distrusted = failed.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<rustls::Error>());
    error.is_closed() || timeout || (failed.is_some() && !distrusted)
}

/// The error with its causes; of an error of the server only its message.
fn described(error: &Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{} (PostgreSQL code {})", database.message(), database.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

pub(super) fn unavailable(reason: impl Into<String>) -> MetadataError {
    MetadataError::Unavailable { reason: reason.into() }
}

/// For callers of a store that was closed.
pub(super) fn closed() -> MetadataError {
    unavailable("it has been closed")
}
