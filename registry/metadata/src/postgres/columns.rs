//! Domain types as columns. Reading back parses: a row that another program damaged is an error, never a value.

use std::{error::Error, fmt::Display, str::FromStr};

use bytes::BytesMut;
use registry_types::{BlobLocation, Digest};
use time::OffsetDateTime;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::{digest_column, parse_digest_column};

type Conversion<T> = Result<T, Box<dyn Error + Sync + Send>>;

/// A digest as one byte for the algorithm and its raw bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct DigestColumn(pub(super) Digest);

impl ToSql for DigestColumn {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        out.extend_from_slice(&digest_column(&self.0));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for DigestColumn {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Conversion<Self> {
        parse_digest_column(raw).map(Self).ok_or_else(|| "a digest of an unknown algorithm or length".into())
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }
}

/// Anything with a text form.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextColumn<T>(pub(super) T);

impl<T: Display + std::fmt::Debug> ToSql for TextColumn<T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        self.0.to_string().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a, T: FromStr<Err: Display>> FromSql<'a> for TextColumn<T> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Conversion<Self> {
        <&str>::from_sql(ty, raw)?.parse().map(Self).map_err(|error: T::Err| error.to_string().into())
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

/// Nanoseconds since 1970, UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeColumn(pub(super) OffsetDateTime);

impl TimeColumn {
    pub(super) fn now() -> Self {
        Self(OffsetDateTime::now_utc())
    }
}

impl ToSql for TimeColumn {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        // 64 bits hold the years 1678 to 2262; a time outside is as good as their end.
        let nanoseconds = self.0.unix_timestamp_nanos();
        let clamped = nanoseconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        clamped.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <i64 as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for TimeColumn {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Conversion<Self> {
        let nanoseconds = i128::from(i64::from_sql(ty, raw)?);
        Ok(Self(OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)?))
    }

    fn accepts(ty: &Type) -> bool {
        <i64 as FromSql>::accepts(ty)
    }
}

/// A length in bytes; PostgreSQL's integers are signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct SizeColumn(pub(super) u64);

impl ToSql for SizeColumn {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        i64::try_from(self.0)?.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <i64 as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for SizeColumn {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Conversion<Self> {
        Ok(Self(u64::try_from(i64::from_sql(ty, raw)?)?))
    }

    fn accepts(ty: &Type) -> bool {
        <i64 as FromSql>::accepts(ty)
    }
}

/// Where a blob is: its key, or the empty text where the digest says it.
#[derive(Debug, Clone)]
pub(super) struct LocationColumn(pub(super) BlobLocation);

impl ToSql for LocationColumn {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        self.0.key().map_or("", |key| key.as_str()).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for LocationColumn {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Conversion<Self> {
        match <&str>::from_sql(ty, raw)? {
            "" => Ok(Self(BlobLocation::ByDigest)),
            key => Ok(Self(BlobLocation::Key(key.parse()?))),
        }
    }

    fn accepts(ty: &Type) -> bool {
        <&str as FromSql>::accepts(ty)
    }
}

/// A number of rows, as LIMIT takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use registry_types::Algorithm;

    use super::*;

    fn round_trip<T: ToSql + for<'a> FromSql<'a>>(value: &T, ty: &Type) -> Conversion<T> {
        let mut out = BytesMut::new();
        value.to_sql(ty, &mut out)?;
        T::from_sql(ty, &out)
    }

    #[test]
    fn digests_take_one_byte_more_than_their_raw_bytes() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(round_trip(&DigestColumn(digest), &Type::BYTEA).unwrap().0, digest);
            let mut out = BytesMut::new();
            DigestColumn(digest).to_sql(&Type::BYTEA, &mut out).unwrap();
            assert_eq!(out.len(), 1 + algorithm.len());
        }
    }

    #[test]
    fn times_keep_their_nanoseconds_and_sizes_stay_positive() {
        let now = OffsetDateTime::now_utc();
        assert_eq!(round_trip(&TimeColumn(now), &Type::INT8).unwrap().0, now);
        assert_eq!(round_trip(&SizeColumn(1 << 62), &Type::INT8).unwrap().0, 1 << 62);
        assert!(round_trip(&SizeColumn(u64::MAX), &Type::INT8).is_err());
    }

    #[test]
    fn damaged_columns_are_refused() {
        for damaged in [&b""[..], b"\x01\xab", b"\x09", b"text"] {
            assert!(
                DigestColumn::from_sql(&Type::BYTEA, damaged).is_err(),
                "{damaged:?} was read as a digest"
            );
        }
        assert!(TextColumn::<registry_types::Tag>::from_sql(&Type::TEXT, b"no tag!").is_err());
        assert!(SizeColumn::from_sql(&Type::INT8, &(-1_i64).to_be_bytes()).is_err());
    }
}
