//! The text that Prometheus reads (OpenMetrics 1.0). Names begin with `slipway_`; units are seconds and bytes.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};
use registry_core::Statistics;

use super::{Metrics, requests::CLASSES};

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything as of now.
pub(crate) fn text(metrics: &Metrics, statistics: Statistics) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("slipway");
    registry.register_collector(Box::new(Snapshot { metrics: metrics.clone(), statistics }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    metrics: Metrics,
    statistics: Statistics,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.requests(encoder)?;
        self.connections(encoder)?;
        self.logins(encoder)?;
        self.stores(encoder)?;
        self.collection(encoder)?;
        self.counts(encoder)?;
        self.events(encoder)
    }
}

impl Snapshot {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let requests = &self.metrics.0.requests;
        let mut family =
            counters(encoder, "requests", "Requests whose answer has ended, by class of its status")?;
        for (method, route, cell) in requests.used() {
            for (class, count) in CLASSES.iter().zip(&cell.classes).filter(|(_, count)| count.get() > 0) {
                let labels = [("method", method), ("route", route), ("status", class)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&count.get(), None)?;
            }
        }
        let help = "Time from a request's head to the end of its answer";
        let mut family =
            encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
        for (method, route, cell) in requests.used() {
            let (sum, buckets) = cell.duration.read();
            // Read once, so that the count is that of the buckets though requests go on.
            let count = buckets.iter().map(|(_, count)| count).sum();
            let labels = [("method", method), ("route", route)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        let mut family = counters(encoder, "received_bytes", "Bytes of request bodies")?;
        for (method, route, cell) in requests.used() {
            count(&mut family, &[("method", method), ("route", route)], cell.received.get())?;
        }
        let mut family = counters(encoder, "sent_bytes", "Bytes of response bodies")?;
        for (method, route, cell) in requests.used() {
            count(&mut family, &[("method", method), ("route", route)], cell.sent.get())?;
        }
        Ok(())
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = &self.metrics.0.connections;
        let (closed, opened) = (connections.closed.get(), connections.opened.get());
        gauge(encoder, "connections_open", "Open connections", opened.saturating_sub(closed))?;
        let mut family = counters(encoder, "connections", "Accepted connections")?;
        count(&mut family, &[("outcome", "served")], opened)?;
        count(&mut family, &[("outcome", "refused")], connections.refused.get())
    }

    fn logins(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let logins = &self.metrics.0.logins;
        let mut family = counters(encoder, "tokens", "Answers of the token endpoint")?;
        for (outcome, number) in [
            ("issued", &logins.issued),
            ("refused", &logins.refused),
            ("throttled", &logins.throttled),
            ("failed", &logins.failed),
        ] {
            count(&mut family, &[("outcome", outcome)], number.get())?;
        }
        Ok(())
    }

    fn stores(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let statistics = &self.statistics;
        let help = "Requests that are receiving a blob at the moment";
        gauge(encoder, "uploads_in_progress", help, statistics.uploads_in_progress as u64)?;
        let mut family = counters(encoder, "store_errors", "Faults of the stores, as requests met them")?;
        count(&mut family, &[("store", "metadata")], statistics.faults.metadata)?;
        count(&mut family, &[("store", "blobs")], statistics.faults.blobs)
    }

    fn collection(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let collection = &self.statistics.collection;
        let mut family =
            counters(encoder, "collection_rounds", "Batches that garbage collection has looked at")?;
        family.encode_counter::<NoLabelSet, u64, f64>(&collection.rounds, None)?;
        let mut family = counters(encoder, "collected", "What garbage collection has removed")?;
        count(&mut family, &[("kind", "link")], collection.links)?;
        count(&mut family, &[("kind", "manifest")], collection.manifests)?;
        count(&mut family, &[("kind", "blob")], collection.blobs)?;
        let mut family =
            counters(encoder, "collected_bytes", "Bytes of blobs that garbage collection has removed")?;
        family.encode_counter::<NoLabelSet, u64, f64>(&collection.bytes, None)
    }

    /// Nothing when the metadata store does not answer: a zero would be a lie.
    fn counts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(counts) = &self.statistics.counts else { return Ok(()) };
        for (name, help, value) in [
            ("repositories", "Repositories", counts.repositories),
            ("manifests", "Manifests, once for each repository that has them", counts.manifests),
            ("tags", "Tags", counts.tags),
            ("blobs", "Distinct blobs", counts.blobs),
            ("blob_bytes", "Bytes of the distinct blobs", counts.blob_bytes),
            ("upload_sessions", "Unfinished upload sessions", counts.uploads),
            ("collection_queue", "Entries that garbage collection has still to look at", counts.queued),
            ("removal_queue", "Blobs whose bytes wait to be removed", counts.removals),
            (
                "event_outbox",
                "Events in the outbox, those that are kept after their delivery too",
                counts.events,
            ),
        ] {
            gauge(encoder, name, help, value)?;
        }
        Ok(())
    }

    fn events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let events = &self.statistics.events;
        let mut family = counters(encoder, "events_delivered", "Events that their endpoint took")?;
        for endpoint in &events.endpoints {
            count(&mut family, &[("endpoint", endpoint.name.as_str())], endpoint.delivered)?;
        }
        let mut family = counters(encoder, "event_delivery_failures", "Deliveries that will be tried again")?;
        for endpoint in &events.endpoints {
            count(&mut family, &[("endpoint", endpoint.name.as_str())], endpoint.failures)?;
        }
        let mut family =
            counters(encoder, "pull_events_dropped", "Events of pulls that came too fast to be kept")?;
        family.encode_counter::<NoLabelSet, u64, f64>(&events.dropped_pulls, None)
    }
}

fn counters<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Counter)
}

fn count<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: u64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}
