//! The span of a request, for those who collect traces: from its head to the end of its answer, beneath the span of
//! whoever sent it (W3C Trace Context). Without the feature `otel` there is none, and it costs nothing.

#[cfg(feature = "otel")]
pub(crate) use self::traced::RequestSpan;
#[cfg(not(feature = "otel"))]
pub(crate) use self::untraced::RequestSpan;

#[cfg(not(feature = "otel"))]
mod untraced {
    use http::request::Parts;

    use crate::{caller::Caller, metrics::MeasuredRequest};

    #[derive(Debug, Clone)]
    pub(crate) struct RequestSpan;

    #[expect(clippy::unused_self, reason = "the same as with traces")]
    impl RequestSpan {
        pub(crate) fn new(_: &Parts, _: &Caller, _: &'static str) -> Self {
            Self
        }

        /// Whatever `work` does is within the span.
        pub(crate) fn around<F: Future>(&self, work: F) -> F {
            work
        }

        pub(crate) fn end(&self, _: &MeasuredRequest<'_>) {}
    }
}

#[cfg(feature = "otel")]
mod traced {
    use http::{HeaderMap, request::Parts};
    use opentelemetry::{global, propagation::Extractor};
    use tracing::{Instrument, Span, field, instrument::Instrumented};
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use crate::{caller::Caller, metrics::MeasuredRequest};

    #[derive(Debug, Clone)]
    pub(crate) struct RequestSpan(Span);

    impl RequestSpan {
        /// With the attributes of OpenTelemetry's conventions for HTTP servers.
        pub(crate) fn new(parts: &Parts, caller: &Caller, route: &'static str) -> Self {
            let span = tracing::info_span!(
                "request",
                otel.name = format!("{} {route}", parts.method),
                otel.kind = "server",
                otel.status_code = field::Empty,
                http.request.method = %parts.method,
                http.route = route,
                http.response.status_code = field::Empty,
                http.request.body.size = field::Empty,
                http.response.body.size = field::Empty,
                url.path = parts.uri.path(),
                client.address = %caller.address,
                request.id = %caller.id,
            );
            let parent =
                global::get_text_map_propagator(|propagator| propagator.extract(&Headers(&parts.headers)));
            // Fails when nobody collects spans.
            let _ = span.set_parent(parent);
            Self(span)
        }

        /// Whatever `work` does is within the span.
        pub(crate) fn around<F: Future>(&self, work: F) -> Instrumented<F> {
            work.instrument(self.0.clone())
        }

        pub(crate) fn end(&self, request: &MeasuredRequest<'_>) {
            if let Some(status) = request.status {
                self.0.record("http.response.status_code", status);
                if status >= 500 {
                    self.0.record("otel.status_code", "ERROR");
                }
            }
            self.0.record("http.request.body.size", request.received);
            self.0.record("http.response.body.size", request.sent);
        }
    }

    struct Headers<'h>(&'h HeaderMap);

    impl Extractor for Headers<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            self.0.get(key).and_then(|value| value.to_str().ok())
        }

        fn keys(&self) -> Vec<&str> {
            self.0.keys().map(http::HeaderName::as_str).collect()
        }
    }
}
