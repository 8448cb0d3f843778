//! Reads the maps of GNU sparse files in their four forms: the old header with extensions, and PAX versions 0.0, 0.1
//! and 1.0 (GNU tar manual, "Storing Sparse Files").

use std::io::Read;

use super::BLOCK;
use super::pax::{self, Records};
use super::reader::TarReader;
use super::sparse::{Fragment, MAX_FRAGMENTS, SparseMap, parse_list};
use crate::error::Result;

impl<R: Read> TarReader<R> {
    /// The map of the entry whose header was just read; `None` if it is not sparse. Moves behind what the map takes of
    /// the content.
    pub(super) fn sparse_map(
        &mut self,
        header: &[u8; BLOCK],
        stored: u64,
        records: &Records,
    ) -> Result<Option<SparseMap>> {
        let record = |key: &str| records.get(key.as_bytes());
        let (fragments, size) = if header[156] == b'S' {
            let size = self.unsigned(&header[483..495], "real size")?;
            (self.old_sparse_fragments(header)?, size)
        } else if record("GNU.sparse.major").map(Vec::as_slice) == Some(b"1") {
            let size = record("GNU.sparse.realsize").and_then(|value| pax::decimal(value));
            let size = size.ok_or_else(|| self.damaged("a sparse file has no real size"))?;
            (self.leading_sparse_fragments()?, size)
        } else if record("GNU.sparse.map").is_some() {
            let size = record("GNU.sparse.size").and_then(|value| pax::decimal(value));
            let size = size.ok_or_else(|| self.damaged("a sparse file has no real size"))?;
            (parse_list(records).map_err(|reason| self.damaged(reason))?, size)
        } else {
            return Ok(None);
        };
        let stored = if header[156] == b'S' { stored } else { self.left };
        SparseMap::new(fragments, size, stored).map(Some).map_err(|reason| self.damaged(reason))
    }

    /// The map of GNU's own format: four pairs in the header, then 21 in each extension block.
    fn old_sparse_fragments(&mut self, header: &[u8; BLOCK]) -> Result<Vec<Fragment>> {
        let mut fragments = Vec::new();
        let mut more = header[482] != 0;
        self.add_pairs(&mut fragments, &header[386..482])?;
        while more {
            let mut block = [0; BLOCK];
            self.read_exactly(&mut block)?;
            self.add_pairs(&mut fragments, &block[..504])?;
            more = block[504] != 0;
            Self::bounded(fragments.len(), MAX_FRAGMENTS, "parts of a sparse file")?;
        }
        Ok(fragments)
    }

    fn add_pairs(&self, fragments: &mut Vec<Fragment>, pairs: &[u8]) -> Result<()> {
        for pair in pairs.chunks_exact(24) {
            if pair[0] == 0 {
                break;
            }
            let offset = self.unsigned(&pair[..12], "sparse offset")?;
            let length = self.unsigned(&pair[12..], "sparse length")?;
            fragments.push(Fragment { offset, length });
        }
        Ok(())
    }

    /// The map of PAX sparse version 1.0: decimal lines before the content, filled up to whole blocks.
    fn leading_sparse_fragments(&mut self) -> Result<Vec<Fragment>> {
        let mut block = [0; BLOCK];
        let mut at = BLOCK;
        let mut next_number = |reader: &mut Self| -> Result<u64> {
            let mut value = 0_u64;
            loop {
                if at == BLOCK {
                    let Some(left) = reader.left.checked_sub(BLOCK as u64) else {
                        return Err(reader.damaged("a sparse file's map is cut"));
                    };
                    reader.read_exactly(&mut block)?;
                    reader.left = left;
                    at = 0;
                }
                let byte = block[at];
                at += 1;
                match byte {
                    b'\n' => return Ok(value),
                    b'0'..=b'9' => {
                        let grown =
                            value.checked_mul(10).and_then(|value| value.checked_add(u64::from(byte - b'0')));
                        value = grown.ok_or_else(|| reader.damaged("a sparse file's map is malformed"))?;
                    }
                    _ => return Err(reader.damaged("a sparse file's map is malformed")),
                }
            }
        };
        let count = next_number(self)?;
        Self::bounded(usize::try_from(count).unwrap_or(usize::MAX), MAX_FRAGMENTS, "parts of a sparse file")?;
        let mut fragments = Vec::new();
        for _ in 0..count {
            let offset = next_number(self)?;
            let length = next_number(self)?;
            fragments.push(Fragment { offset, length });
        }
        Ok(fragments)
    }
}
