//! What goes on, in numbers. Counting a request costs a few additions to memory that was reserved at the start: labels
//! come from fixed sets, so nothing is allocated or locked, and no client can make the sets grow. Text is made when
//! somebody asks for it.

mod exposition;
mod histogram;
mod requests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::StatusCode;

#[cfg(test)]
pub(crate) use self::requests::ROUTES;
use self::requests::Requests;
pub(crate) use self::{
    exposition::{CONTENT_TYPE, text},
    requests::MeasuredRequest,
};
use crate::handlers::{Answer, Failure};

/// The numbers of one server. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    requests: Requests,
    connections: Connections,
    logins: Logins,
}

/// Grows only.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Connections {
    opened: Count,
    closed: Count,
    /// Closed at once: their address had its share.
    refused: Count,
}

/// Answers of the token endpoint.
#[derive(Debug, Default)]
struct Logins {
    issued: Count,
    /// Wrong name or password.
    refused: Count,
    /// Not even looked at, after too many wrong ones.
    throttled: Count,
    /// Everything else that went wrong.
    failed: Count,
}

/// An open connection, until dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Metrics);

impl Metrics {
    /// A request whose answer has ended.
    pub(crate) fn measure(&self, request: &MeasuredRequest<'_>) {
        self.0.requests.add(request);
    }

    pub(crate) fn connection_opened(&self) -> OpenConnection {
        self.0.connections.opened.add(1);
        OpenConnection(self.clone())
    }

    pub(crate) fn connection_refused(&self) {
        self.0.connections.refused.add(1);
    }

    /// What the token endpoint answered.
    pub(crate) fn token(&self, answer: &Answer) {
        let logins = &self.0.logins;
        let outcome = match answer {
            Ok(_) => &logins.issued,
            Err(Failure::Http(error)) if error.status == StatusCode::UNAUTHORIZED => &logins.refused,
            Err(Failure::Http(error)) if error.status == StatusCode::TOO_MANY_REQUESTS => &logins.throttled,
            Err(_) => &logins.failed,
        };
        outcome.add(1);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.connections.closed.add(1);
    }
}
