//! Domain types as columns. Reading back parses: a row that another program damaged is an error, never a value.

use std::{error::Error, fmt::Display, str::FromStr};

use bytes::BytesMut;
use registry_types::{Algorithm, Digest};
use time::OffsetDateTime;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

type Conversion<T> = Result<T, Box<dyn Error + Sync + Send>>;

/// A digest as one byte for the algorithm and its raw bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct DigestColumn(pub(super) Digest);

fn algorithm_byte(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}

impl ToSql for DigestColumn {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Conversion<IsNull> {
        out.extend_from_slice(&[algorithm_byte(self.0.algorithm())]);
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for DigestColumn {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Conversion<Self> {
        let (first, raw) = raw.split_first().ok_or("an empty digest")?;
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm_byte(*algorithm) == *first)
            .and_then(|algorithm| Digest::from_bytes(algorithm, raw))
            .map(Self)
            .ok_or_else(|| "a digest of an unknown algorithm or length".into())
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

/// A number of rows, as LIMIT takes it.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
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
