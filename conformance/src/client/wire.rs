//! HTTP/1.1 as bytes (RFC 9112): a request's head, and an answer read to its end, whatever becomes of the request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use url::Url;

use super::Request;

/// Largest head of an answer, in bytes: far more than any registry sends.
const LARGEST_HEAD: u64 = 64 << 10;

/// Largest body of an answer, in bytes: more than any check pushes.
const LARGEST_BODY: u64 = 64 << 20;

type Parts = (StatusCode, HeaderMap, Bytes);

/// The head of a request on a connection of its own.
pub(super) fn head(request: &Request, url: &Url) -> String {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = url.host_str().unwrap_or_default();
    let mut head = format!("{} {target} HTTP/1.1\r\nHost: {host}", request.method);
    if let Some(port) = url.port() {
        head.push_str(&format!(":{port}"));
    }
    head.push_str("\r\nConnection: close\r\n");
    if !request.body.is_empty() || ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// Reads an answer: interim ones are passed over, the body is as long as the head says.
pub(super) async fn receive(stream: impl AsyncRead + Unpin, to_head: bool) -> Result<Parts, String> {
    let mut stream = BufReader::new(stream);
    loop {
        let (status, headers) = receive_head(&mut stream).await?;
        if status.is_informational() {
            continue;
        }
        let bodiless = to_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let body = if bodiless { Bytes::new() } else { receive_body(&mut stream, &headers).await? };
        return Ok((status, headers, body));
    }
}

async fn receive_head<R: AsyncRead + Unpin>(
    stream: &mut BufReader<R>,
) -> Result<(StatusCode, HeaderMap), String> {
    let mut stream = stream.take(LARGEST_HEAD);
    let first = line(&mut stream).await?;
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse::<StatusCode>().ok())
        .ok_or_else(|| format!("{first:?} is no status line"))?;
    let mut headers = HeaderMap::new();
    loop {
        let line = line(&mut stream).await?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("{line:?} is no header"))?;
        let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header's name"))?;
        let value =
            HeaderValue::from_str(value.trim()).map_err(|_| format!("{value:?} is no header's value"))?;
        headers.append(name, value);
    }
}

/// A line without its end.
async fn line<R: AsyncBufReadExt + Unpin>(stream: &mut R) -> Result<String, String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).await.map_err(|error| format!("no answer: {error}"))?;
    let text = bytes.strip_suffix(b"\r\n").ok_or("the answer was cut within its head")?;
    String::from_utf8(text.to_vec()).map_err(|_| "the answer's head is no text".to_owned())
}

async fn receive_body<R: AsyncRead + Unpin>(
    stream: &mut BufReader<R>,
    headers: &HeaderMap,
) -> Result<Bytes, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return receive_chunks(stream).await;
    }
    let mut body = Vec::new();
    let Some(length) = text("content-length") else {
        let read = stream.take(LARGEST_BODY).read_to_end(&mut body).await;
        return read.map(|_| body.into()).map_err(|error| format!("the body was cut: {error}"));
    };
    let length: u64 = length.parse().map_err(|_| format!("Content-Length {length:?} is no number"))?;
    exactly(stream, length, &mut body).await?;
    Ok(body.into())
}

async fn receive_chunks<R: AsyncRead + Unpin>(stream: &mut BufReader<R>) -> Result<Bytes, String> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let length =
            u64::from_str_radix(digits, 16).map_err(|_| format!("{size:?} is no size of a chunk"))?;
        if length == 0 {
            // Trailers end with an empty line.
            while !line(stream).await?.is_empty() {}
            return Ok(body.into());
        }
        exactly(stream, length, &mut body).await?;
        line(stream).await?;
    }
}

async fn exactly<R: AsyncRead + Unpin>(
    stream: &mut BufReader<R>,
    length: u64,
    body: &mut Vec<u8>,
) -> Result<(), String> {
    if length > LARGEST_BODY.saturating_sub(body.len() as u64) {
        return Err(format!("a body of more than {LARGEST_BODY} bytes"));
    }
    let read = stream.take(length).read_to_end(body).await;
    let read = read.map_err(|error| format!("the body was cut: {error}"))?;
    if read as u64 != length {
        return Err(format!("the body was cut after {read} of {length} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Result<Parts, String> {
        receive(text.as_bytes(), false).await
    }

    #[tokio::test]
    async fn bodies_end_where_the_head_says() {
        let answer = "HTTP/1.1 201 Created\r\nA: b\r\nContent-Length: 3\r\n\r\nabcdef";
        let (status, headers, body) = read(answer).await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (201, &b"abc"[..]));
        assert_eq!(headers.get("a").unwrap(), "b");
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n";
        assert_eq!(&read(chunked).await.unwrap().2[..], b"abc");
        assert_eq!(&read("HTTP/1.1 200 OK\r\n\r\nto the end").await.unwrap().2[..], b"to the end");
        assert!(read("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").await.unwrap().2.is_empty());
    }

    #[tokio::test]
    async fn what_was_cut_is_no_answer() {
        for cut in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabc",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(read(cut).await.is_err(), "{cut:?}");
        }
    }
}
