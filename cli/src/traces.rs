//! Traces to an OpenTelemetry collector, in builds with the feature `otel` and when `OTEL_EXPORTER_OTLP_ENDPOINT` (or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) names one: without being told nobody is sent anything. The other variables of
//! OpenTelemetry hold too (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, ...).

#[cfg(feature = "otel")]
pub(crate) use self::collected::Traces;
#[cfg(not(feature = "otel"))]
pub(crate) use self::uncollected::Traces;

#[cfg(not(feature = "otel"))]
mod uncollected {
    use tracing_subscriber::layer::Identity;

    use crate::failure::Failure;

    #[derive(Debug)]
    pub(crate) struct Traces;

    #[expect(clippy::unused_self, reason = "the same as with traces")]
    impl Traces {
        pub(crate) fn start() -> Result<Self, Failure> {
            Ok(Self)
        }

        pub(crate) fn layer(&self) -> Identity {
            Identity::new()
        }

        pub(crate) fn finish(self) {}
    }
}

#[cfg(feature = "otel")]
mod collected {
    use std::{
        env,
        io::{Read, Write},
        net::TcpStream,
        time::Duration,
    };

    use async_trait::async_trait;
    use bytes::Bytes;
    use http::{Request, Response};
    use opentelemetry::{global, trace::TracerProvider};
    use opentelemetry_http::{HttpClient, HttpError};
    use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
    use opentelemetry_sdk::{
        Resource,
        propagation::TraceContextPropagator,
        trace::{SdkTracerProvider, Tracer},
    };
    use tracing::Subscriber;
    use tracing_opentelemetry::OpenTelemetryLayer;
    use tracing_subscriber::registry::LookupSpan;

    use crate::failure::Failure;

    const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    /// How long a collector may take for a batch; spans wait meanwhile, and those too many are dropped.
    const PATIENCE: Duration = Duration::from_secs(10);

    #[derive(Debug)]
    pub(crate) struct Traces(Option<SdkTracerProvider>);

    impl Traces {
        pub(crate) fn start() -> Result<Self, Failure> {
            if ENDPOINTS.iter().all(|name| env::var_os(name).is_none()) {
                return Ok(Self(None));
            }
            let exporter = SpanExporter::builder().with_http().with_http_client(PlainHttp).build();
            let exporter =
                exporter.map_err(|error| Failure::Usage(format!("traces cannot be sent: {error}")))?;
            let mut resource = Resource::builder();
            if env::var_os("OTEL_SERVICE_NAME").is_none() {
                resource = resource.with_service_name("slipway");
            }
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource.build())
                .build();
            global::set_text_map_propagator(TraceContextPropagator::new());
            Ok(Self(Some(provider)))
        }

        pub(crate) fn layer<S>(&self) -> Option<OpenTelemetryLayer<S, Tracer>>
        where
            S: Subscriber + for<'span> LookupSpan<'span>,
        {
            let provider = self.0.as_ref()?;
            Some(tracing_opentelemetry::layer().with_tracer(provider.tracer("slipway")))
        }

        /// Sends what waits.
        pub(crate) fn finish(self) {
            if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
                tracing::warn!(%error, "the last traces were not sent");
            }
        }
    }

    /// Plain HTTP on the exporter's own thread, which may wait: a collector stands beside the server.
    #[derive(Debug)]
    struct PlainHttp;

    #[async_trait]
    impl HttpClient for PlainHttp {
        async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            send_blocking(&request)
        }
    }

    fn send_blocking(request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let authority = uri.authority().ok_or("the collector's URL names no host")?;
        if uri.scheme_str() != Some("http") {
            return Err("the collector's URL must begin with http://".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let mut stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut head =
            format!("{} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n", request.method());
        head.push_str(&format!("Content-Length: {}\r\n", request.body().len()));
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        stream.write_all(request.body())?;
        // `HTTP/1.1 200`; the rest is of no interest.
        let mut status_line = [0; 12];
        stream.read_exact(&mut status_line)?;
        let status = status_line.get(9..).and_then(|digits| std::str::from_utf8(digits).ok());
        let status: u16 = status.ok_or("the collector does not speak HTTP")?.parse()?;
        Ok(Response::builder().status(status).body(Bytes::new())?)
    }

    #[cfg(test)]
    mod tests {
        use std::{net::TcpListener, thread};

        use tracing_subscriber::prelude::*;

        use super::*;

        #[test]
        fn a_span_reaches_the_collector() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let collector = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = Vec::new();
                while !heard.windows(9).any(|window| window == b"test span") {
                    let mut piece = [0; 4096];
                    let length = stream.read(&mut piece).unwrap();
                    assert!(length > 0, "{}", String::from_utf8_lossy(&heard));
                    heard.extend_from_slice(&piece[..length]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                String::from_utf8_lossy(&heard).to_lowercase()
            });
            let exporter = {
                use opentelemetry_otlp::WithExportConfig;
                let builder = SpanExporter::builder().with_http().with_http_client(PlainHttp);
                builder.with_endpoint(format!("http://{address}/v1/traces")).build().unwrap()
            };
            let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
            let traces = Traces(Some(provider));
            let subscriber = tracing_subscriber::registry().with(traces.layer());
            tracing::subscriber::with_default(subscriber, || {
                tracing::info_span!("test span").in_scope(|| ())
            });
            traces.finish();
            let heard = collector.join().unwrap();
            assert!(
                heard.starts_with("post /v1/traces http/1.1") && heard.contains("application/x-protobuf"),
                "{heard}"
            );
        }
    }
}
