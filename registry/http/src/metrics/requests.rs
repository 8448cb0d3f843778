//! Requests by method, route and class of status.

use std::time::Duration;

use http::Method;

use super::{Count, histogram::Histogram};

/// The names of the routes; the last one stands for paths that are none.
pub(crate) const ROUTES: [&str; 14] = [
    "base",
    "catalog",
    "tags",
    "manifest",
    "blob",
    "uploads",
    "upload",
    "referrers",
    "token",
    "keys",
    "live",
    "ready",
    "metrics",
    "none",
];

/// The last one stands for methods that no route has.
pub(super) const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "other"];

/// By the first digit of the status; the first one stands for requests that got no answer.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What is counted of a request.
#[derive(Debug)]
pub(crate) struct MeasuredRequest<'r> {
    pub(crate) method: &'r Method,
    /// One of [`ROUTES`].
    pub(crate) route: &'static str,
    /// `None`: the client left before there was an answer.
    pub(crate) status: Option<u16>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
}

/// The requests of one method on one route.
#[derive(Debug, Default)]
pub(super) struct Requests {
    cells: [[Cell; METHODS.len()]; ROUTES.len()],
}

#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) classes: [Count; CLASSES.len()],
    pub(super) duration: Histogram,
    pub(super) received: Count,
    pub(super) sent: Count,
}

impl Requests {
    pub(super) fn add(&self, request: &MeasuredRequest<'_>) {
        let route = ROUTES.iter().position(|name| *name == request.route).unwrap_or(ROUTES.len() - 1);
        let Some(cell) = self.cells.get(route).and_then(|methods| methods.get(method(request.method))) else {
            return;
        };
        let class = request.status.map_or(0, |status| usize::from(status / 100));
        if let Some(class) = cell.classes.get(class) {
            class.add(1);
        }
        cell.duration.add(request.duration);
        cell.received.add(request.received);
        cell.sent.add(request.sent);
    }

    /// Those cells with requests, each with its method and route.
    pub(super) fn used(&self) -> impl Iterator<Item = (&'static str, &'static str, &Cell)> {
        let routes = ROUTES.iter().zip(&self.cells);
        routes
            .flat_map(|(route, cells)| {
                METHODS.iter().zip(cells).map(|(method, cell)| (*method, *route, cell))
            })
            .filter(|(_, _, cell)| cell.classes.iter().any(|class| class.get() > 0))
    }
}

fn method(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::PUT => 2,
        Method::POST => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => METHODS.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_counts_under_its_name() {
        for (number, name) in METHODS.iter().enumerate() {
            assert_eq!(method(&name.parse().unwrap()), number, "{name}");
        }
        assert_eq!(METHODS[method(&"BREW".parse().unwrap())], "other");
    }

    #[test]
    fn requests_are_told_apart_and_strange_ones_are_lost_nowhere() {
        let requests = Requests::default();
        let add = |method: &str, route, status| {
            requests.add(&MeasuredRequest {
                method: &method.parse().unwrap(),
                route,
                status,
                received: 1,
                sent: 10,
                duration: Duration::from_millis(1),
            });
        };
        add("GET", "manifest", Some(200));
        add("GET", "manifest", Some(404));
        add("GET", "manifest", None);
        add("HEAD", "manifest", Some(200));
        add("BREW", "none", Some(999));
        let used: Vec<_> = requests.used().map(|(method, route, _)| (method, route)).collect();
        assert_eq!(used, [("GET", "manifest"), ("HEAD", "manifest")]);
        let (_, _, cell) = requests.used().next().unwrap();
        let classes: Vec<u64> = cell.classes.iter().map(Count::get).collect();
        assert_eq!(classes, [1, 0, 1, 0, 1, 0]);
        assert_eq!((cell.received.get(), cell.sent.get()), (3, 30));
        assert_eq!(cell.duration.read().1.iter().map(|(_, count)| count).sum::<u64>(), 3);
    }
}
