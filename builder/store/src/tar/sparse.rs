//! GNU sparse files: which parts of a file the archive holds. Holes read as zeros.

use super::pax::{Records, decimal};

/// Most data fragments of one file: enough for any disk image in practice, and 16 bytes each.
pub(super) const MAX_FRAGMENTS: usize = 1 << 20;

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Fragments in order, and the size of the file with its holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SparseMap {
    fragments: Vec<Fragment>,
    pub(super) size: u64,
    /// The first fragment that has not been read to its end.
    current: usize,
    position: u64,
}

/// What comes next at the present position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Run {
    Hole(u64),
    Data(u64),
    End,
}

impl SparseMap {
    /// Checks that fragments are in order, inside the file, and that `stored` bytes fill them exactly.
    pub(super) fn new(fragments: Vec<Fragment>, size: u64, stored: u64) -> Result<Self, &'static str> {
        let mut end = 0_u64;
        let mut total = 0_u64;
        for fragment in &fragments {
            if fragment.offset < end {
                return Err("the parts of a sparse file overlap");
            }
            end = fragment.offset.checked_add(fragment.length).ok_or("a sparse file is too large")?;
            total += fragment.length;
        }
        if end > size {
            return Err("a part of a sparse file lies behind its end");
        }
        if total != stored {
            return Err("a sparse file's parts and its stored size do not agree");
        }
        Ok(Self { fragments, size, current: 0, position: 0 })
    }

    pub(super) fn next_run(&mut self) -> Run {
        while let Some(fragment) = self.fragments.get(self.current) {
            if self.position < fragment.offset {
                return Run::Hole(fragment.offset - self.position);
            }
            let end = fragment.offset + fragment.length;
            if self.position < end {
                return Run::Data(end - self.position);
            }
            self.current += 1;
        }
        if self.position < self.size { Run::Hole(self.size - self.position) } else { Run::End }
    }

    pub(super) fn advance(&mut self, count: u64) {
        self.position += count;
    }
}

/// Fragments from `GNU.sparse.map`: `offset,length,offset,length,...`.
pub(super) fn parse_list(records: &Records) -> Result<Vec<Fragment>, &'static str> {
    let text = records.get(b"GNU.sparse.map".as_slice()).map_or(&[][..], Vec::as_slice);
    let numbers: Option<Vec<u64>> = text.split(|byte| *byte == b',').map(decimal).collect();
    let numbers = numbers.ok_or("a sparse file's map is malformed")?;
    if numbers.len() > 2 * MAX_FRAGMENTS || numbers.len() % 2 != 0 {
        return Err("a sparse file's map is malformed");
    }
    Ok(numbers.chunks_exact(2).map(|pair| Fragment { offset: pair[0], length: pair[1] }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_data_alternate() {
        let fragments = vec![Fragment { offset: 2, length: 3 }, Fragment { offset: 9, length: 0 }];
        let mut map = SparseMap::new(fragments, 9, 3).unwrap();
        assert_eq!(map.next_run(), Run::Hole(2));
        map.advance(2);
        assert_eq!(map.next_run(), Run::Data(3));
        map.advance(3);
        assert_eq!(map.next_run(), Run::Hole(4));
        map.advance(4);
        assert_eq!(map.next_run(), Run::End);
    }

    #[test]
    fn contradictions_are_refused() {
        let part = |offset, length| Fragment { offset, length };
        assert!(SparseMap::new(vec![part(0, 4), part(2, 1)], 9, 5).is_err());
        assert!(SparseMap::new(vec![part(0, 4)], 3, 4).is_err());
        assert!(SparseMap::new(vec![part(0, 4)], 9, 5).is_err());
        assert!(SparseMap::new(vec![part(u64::MAX, 4)], u64::MAX, 4).is_err());
    }
}
