//! Tests of the compression pool: same bytes at any number of threads, readable by everyone, pinned.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use registry_types::Digest;

use super::block::BLOCK_SIZE;
use super::*;

/// Half text-like, half noise, so that blocks differ in how they compress.
fn sample(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..size)
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if (at / 4096) % 2 == 0 { b'a' + (state % 7) as u8 } else { state as u8 }
        })
        .collect()
}

fn compress(content: &[u8], compression: Compression, threads: usize) -> (Vec<u8>, LayerDigests) {
    let mut writer = LayerWriter::new(Vec::new(), compression, threads).unwrap();
    // Odd pieces, so that blocks do not follow the caller's writes.
    for piece in content.chunks(70_001) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn decompress(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    Decompressor::new(content, ExpansionLimits::default())?.read_to_end(&mut plain)?;
    Ok(plain)
}

#[test]
fn bytes_are_the_same_at_any_number_of_threads() {
    let content = sample(5 * BLOCK_SIZE + 12_345);
    for compression in [
        Compression::default(),
        Compression::gzip(6).unwrap(),
        Compression::zstd(3).unwrap(),
        Compression::None,
    ] {
        let (one, digests) = compress(&content, compression, 1);
        assert_eq!(digests.diff_id, Digest::sha256(&content));
        assert_eq!(digests.digest, Digest::sha256(&one));
        assert_eq!((digests.diff_size, digests.size), (content.len() as u64, one.len() as u64));
        assert!(decompress(&one).unwrap() == content, "{compression:?} does not come back");
        for threads in [2, 4, 7] {
            let (many, same) = compress(&content, compression, threads);
            assert!(many == one, "{compression:?} at {threads} threads");
            assert_eq!(same, digests);
        }
    }
}

#[test]
fn the_compressor_gives_the_known_bytes() {
    let (bytes, _) = compress(&sample(BLOCK_SIZE + 1000), Compression::default(), 2);
    assert_eq!(
        Digest::sha256(&bytes).to_string(),
        "sha256:06c2fb4ab68f61e0202bae3451853c690b90e30fd398f8d43a236b0c18b0ad87",
        "the compressor's output changed: every layer gets a new digest, so say so in the change log"
    );
}

#[test]
fn an_empty_layer_is_a_valid_stream() {
    for compression in [Compression::default(), Compression::zstd(3).unwrap()] {
        let (bytes, digests) = compress(b"", compression, 2);
        assert!(!bytes.is_empty());
        assert_eq!(decompress(&bytes).unwrap(), b"");
        assert_eq!(digests.diff_id, Digest::sha256(b""));
    }
}

#[test]
fn every_format_is_told_and_read() {
    let content = sample(300_000);
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&content).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&content).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&content).unwrap();
    let zstd = zstd::bulk::compress(&content, 1).unwrap();
    for (format, bytes) in [
        (ArchiveFormat::Bzip2, bzip2.finish().unwrap()),
        (ArchiveFormat::Xz, xz.finish().unwrap()),
        (ArchiveFormat::Gzip, gzip.finish().unwrap()),
        (ArchiveFormat::Zstd, zstd),
        (ArchiveFormat::Plain, content.clone()),
    ] {
        let decompressor = Decompressor::new(bytes.as_slice(), ExpansionLimits::default()).unwrap();
        assert_eq!(decompressor.format(), format);
        drop(decompressor);
        assert!(decompress(&bytes).unwrap() == content, "{format:?}");
        if format != ArchiveFormat::Plain {
            assert!(decompress(&bytes[..bytes.len() - 9]).is_err(), "a cut {format:?} stream was taken");
        }
    }
}

#[test]
fn a_stream_beyond_the_limits_is_cut_off() {
    let (bytes, _) = compress(&vec![0; 8 * BLOCK_SIZE], Compression::default(), 2);
    let mut limited =
        Decompressor::new(bytes.as_slice(), ExpansionLimits { total: 3_000_000, ratio: 1100 }).unwrap();
    let error = io::copy(&mut limited, &mut io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    // 1.5 GiB of zeros in some ten thousand bytes: only the ratio can stop it early.
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; BLOCK_SIZE];
    for _ in 0..1536 {
        bomb.write_all(&zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let mut limited = Decompressor::new(bomb.as_slice(), ExpansionLimits::default()).unwrap();
    let error = io::copy(&mut limited, &mut io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn a_failing_sink_is_an_error_and_ends_the_workers() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writer = LayerWriter::new(Full, Compression::default(), 2).unwrap();
    let content = sample(BLOCK_SIZE);
    let error = (0..64).find_map(|_| writer.write_all(&content).err()).expect("the sink takes nothing");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    drop(writer);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn damaged_streams_never_panic(at in 0_usize..2000, value in any::<u8>(), gzip in any::<bool>()) {
        let compression = if gzip { Compression::default() } else { Compression::zstd(1).unwrap() };
        let (mut bytes, _) = compress(&sample(20_000), compression, 1);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = decompress(&bytes);
    }
}
