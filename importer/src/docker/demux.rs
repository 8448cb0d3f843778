//! Takes apart the stream of an attached exec: Docker sends standard output and standard error as frames of
//! an 8-byte header (stream number, three zero bytes, length as big-endian u32) and that many bytes
//! (Docker Engine API, "Attach to a container", stream format). The decoder holds no payload: whatever part
//! of a frame has arrived is handed on at once, so its memory does not depend on frame sizes.

/// Which of the command's streams a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
}

const HEADER: usize = 8;

/// The decoder's state between two reads.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    header: [u8; HEADER],
    /// How many bytes of the next header have arrived.
    header_filled: usize,
    /// Stream of the frame being read, and how many bytes of it are still to come.
    frame: Option<(Channel, u32)>,
}

/// Why a stream is no multiplexed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DemuxError {
    #[error("a frame names stream {0}, which the Docker Engine API does not know")]
    Stream(u8),
    #[error("the stream ends inside a frame")]
    Truncated,
}

impl Demux {
    /// Decodes `input`, calling `emit` for each piece of payload in order.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        mut emit: impl FnMut(Channel, &[u8]),
    ) -> Result<(), DemuxError> {
        while !input.is_empty() {
            match self.frame {
                Some((channel, left)) => {
                    let (piece, rest) = input.split_at(input.len().min(left as usize));
                    emit(channel, piece);
                    let left = left - piece.len() as u32;
                    self.frame = (left > 0).then_some((channel, left));
                    input = rest;
                }
                None => {
                    let missing = HEADER - self.header_filled;
                    let (piece, rest) = input.split_at(input.len().min(missing));
                    self.header[self.header_filled..self.header_filled + piece.len()].copy_from_slice(piece);
                    self.header_filled += piece.len();
                    input = rest;
                    if self.header_filled == HEADER {
                        self.header_filled = 0;
                        self.frame = self.parse_header()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// `None` for an empty frame, which carries nothing.
    fn parse_header(&self) -> Result<Option<(Channel, u32)>, DemuxError> {
        let [stream, _, _, _, length @ ..] = self.header;
        let length = u32::from_be_bytes(length);
        let channel = match stream {
            // 0 is standard input; the Engine writes it for output that it cannot tell apart.
            0 | 1 => Channel::Stdout,
            2 => Channel::Stderr,
            other => return Err(DemuxError::Stream(other)),
        };
        Ok((length > 0).then_some((channel, length)))
    }

    /// To be called at the end of the stream.
    pub(crate) fn finish(&self) -> Result<(), DemuxError> {
        if self.header_filled == 0 && self.frame.is_none() { Ok(()) } else { Err(DemuxError::Truncated) }
    }
}

#[cfg(test)]
pub(crate) fn encode_frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(wire: &[u8], cuts: usize) -> Result<(Vec<u8>, Vec<u8>), DemuxError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut demux = Demux::default();
        for piece in wire.chunks(cuts) {
            demux.push(piece, |channel, bytes| match channel {
                Channel::Stdout => stdout.extend(bytes),
                Channel::Stderr => stderr.extend(bytes),
            })?;
        }
        demux.finish()?;
        Ok((stdout, stderr))
    }

    #[test]
    fn an_unknown_stream_number_is_refused() {
        assert_eq!(decode(&encode_frame(7, b"x"), 64), Err(DemuxError::Stream(7)));
    }

    #[test]
    fn a_cut_stream_is_noticed() {
        let wire = encode_frame(1, b"hello");
        for length in 1..wire.len() {
            assert_eq!(decode(&wire[..length], 64), Err(DemuxError::Truncated), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_streams(
            frames in proptest::collection::vec((1_u8..=2, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in 1_usize..50,
        ) {
            let wire: Vec<u8> =
                frames.iter().flat_map(|(stream, payload)| encode_frame(*stream, payload)).collect();
            let of = |wanted: u8| -> Vec<u8> {
                frames.iter().filter(|(stream, _)| *stream == wanted).flat_map(|(_, payload)| payload.clone())
                    .collect()
            };
            prop_assert_eq!(decode(&wire, cuts), Ok((of(1), of(2))));
        }

        #[test]
        fn garbage_never_panics(wire in proptest::collection::vec(any::<u8>(), 0..200), cuts in 1_usize..30) {
            let _ = decode(&wire, cuts);
        }
    }
}
