//! Cutting a step's output into lines, each stream for itself, within a bound.

/// A longer line is handed on in pieces of this size, so a step that never ends a line costs 64 KiB and no more.
pub const MAX_LINE: usize = 64 << 10;

/// Which of the step's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of output, or a piece of an overlong one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// Where it was written.
    pub stream: OutputStream,
    /// The bytes as written, without the line feed. At most [`MAX_LINE`]; any encoding.
    pub bytes: Vec<u8>,
    /// Whether a line feed followed: false for a piece and for a last line without one.
    pub ended: bool,
}

/// Collects the bytes of one stream.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    stream: OutputStream,
    pending: Vec<u8>,
}

impl LineSplitter {
    pub(crate) fn new(stream: OutputStream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes bytes as they were read and hands on every line that is complete or too long.
    pub(crate) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(OutputLine)) {
        while !bytes.is_empty() {
            let room = bytes.get(..MAX_LINE - self.pending.len()).unwrap_or(bytes);
            let (piece, ended) = match room.iter().position(|byte| *byte == b'\n') {
                Some(end) => (room.get(..end).unwrap_or_default(), true),
                None => (room, false),
            };
            self.pending.extend_from_slice(piece);
            bytes = bytes.get(piece.len() + usize::from(ended)..).unwrap_or_default();
            if ended || self.pending.len() == MAX_LINE {
                self.hand_on(ended, sink);
            }
        }
    }

    /// Hands on what is left when the stream has ended.
    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(OutputLine)) {
        if !self.pending.is_empty() {
            self.hand_on(false, sink);
        }
    }

    fn hand_on(&mut self, ended: bool, sink: &mut dyn FnMut(OutputLine)) {
        let bytes = std::mem::take(&mut self.pending);
        sink(OutputLine { stream: self.stream, bytes, ended });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(OutputStream::Stdout);
        let mut sink = |line: OutputLine| lines.push((line.bytes, line.ended));
        for chunk in chunks {
            splitter.push(chunk, &mut sink);
        }
        splitter.finish(&mut sink);
        lines
    }

    #[test]
    fn lines_are_joined_across_chunks() {
        let lines = split(&[b"one\ntw", b"o\n\nthr", b"ee"]);
        let expected: [(&[u8], bool); 4] = [(b"one", true), (b"two", true), (b"", true), (b"three", false)];
        assert_eq!(lines, expected.map(|(bytes, ended)| (bytes.to_vec(), ended)));
    }

    #[test]
    fn an_endless_line_comes_in_bounded_pieces() {
        let lines = split(&[&vec![b'x'; MAX_LINE - 1], b"yz\n"]);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].0.len(), lines[0].1), (MAX_LINE, false));
        assert_eq!(lines[1], (b"z".to_vec(), true));
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(chunks in proptest::collection::vec(proptest::collection::vec(0_u8..12, 0..40), 0..20)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut joined = Vec::new();
            for (bytes, ended) in split(&chunks) {
                joined.extend(bytes);
                if ended {
                    joined.push(b'\n');
                }
            }
            proptest::prop_assert_eq!(joined, chunks.concat());
        }
    }
}
