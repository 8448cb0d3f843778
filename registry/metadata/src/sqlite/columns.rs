//! Domain types as columns. Reading back parses: a row that another program damaged is an error, never a value.

use std::{fmt::Display, str::FromStr};

use registry_types::{BlobLocation, Digest};
use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef},
};
use time::OffsetDateTime;

use crate::{digest_column, parse_digest_column};

/// A digest as one byte for the algorithm and its raw bytes.
#[derive(Clone, Copy)]
pub(super) struct DigestColumn(pub(super) Digest);

impl ToSql for DigestColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Blob(digest_column(&self.0))))
    }
}

impl FromSql for DigestColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        parse_digest_column(value.as_blob()?)
            .map(Self)
            .ok_or_else(|| other("a digest of an unknown algorithm or length"))
    }
}

/// Where a blob is: its key, or the empty text where the digest says it.
pub(super) struct LocationColumn(pub(super) BlobLocation);

impl ToSql for LocationColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let key = self.0.key().map_or("", |key| key.as_str());
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(key.as_bytes())))
    }
}

impl FromSql for LocationColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "" => Ok(Self(BlobLocation::ByDigest)),
            key => key.parse().map(|key| Self(BlobLocation::Key(key))).map_err(FromSqlError::other),
        }
    }
}

/// Anything with a text form.
#[derive(Clone, Copy)]
pub(super) struct TextColumn<T>(pub(super) T);

impl<T: Display> ToSql for TextColumn<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(Value::Text(self.0.to_string())))
    }
}

impl<T: FromStr<Err: Display>> FromSql for TextColumn<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(|error: T::Err| other(&error.to_string()))
    }
}

/// Nanoseconds since 1970, UTC.
#[derive(Clone, Copy)]
pub(super) struct TimeColumn(pub(super) OffsetDateTime);

impl TimeColumn {
    pub(super) fn now() -> Self {
        Self(OffsetDateTime::now_utc())
    }
}

impl ToSql for TimeColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // 64 bits hold the years 1678 to 2262; a time outside is as good as their end.
        let nanoseconds = self.0.unix_timestamp_nanos();
        let clamped = nanoseconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        Ok(ToSqlOutput::Owned(Value::Integer(clamped)))
    }
}

impl FromSql for TimeColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let nanoseconds = i128::from(value.as_i64()?);
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).map(Self).map_err(FromSqlError::other)
    }
}

/// A length in bytes; SQLite's integers are signed.
#[derive(Clone, Copy)]
pub(super) struct SizeColumn(pub(super) u64);

impl ToSql for SizeColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let size = i64::try_from(self.0)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        Ok(ToSqlOutput::Owned(Value::Integer(size)))
    }
}

impl FromSql for SizeColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

fn other(reason: &str) -> FromSqlError {
    FromSqlError::Other(reason.into())
}

#[cfg(test)]
mod tests {
    use registry_types::Algorithm;
    use rusqlite::Connection;

    use super::*;

    fn round_trip<T: ToSql + FromSql>(value: &T) -> rusqlite::Result<T> {
        Connection::open_in_memory()?.query_row("SELECT ?1", [value], |row| row.get(0))
    }

    #[test]
    fn digests_take_one_byte_more_than_their_raw_bytes() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(round_trip(&DigestColumn(digest)).unwrap().0, digest);
            let length: u32 = Connection::open_in_memory()
                .unwrap()
                .query_row("SELECT length(?1)", [DigestColumn(digest)], |row| row.get(0))
                .unwrap();
            assert_eq!(length as usize, 1 + algorithm.len());
        }
    }

    #[test]
    fn times_keep_their_nanoseconds_and_sizes_stay_positive() {
        let now = OffsetDateTime::now_utc();
        assert_eq!(round_trip(&TimeColumn(now)).unwrap().0, now);
        assert_eq!(round_trip(&SizeColumn(1 << 62)).unwrap().0, 1 << 62);
        assert!(round_trip(&SizeColumn(u64::MAX)).is_err());
    }

    #[test]
    fn damaged_columns_are_refused() {
        let connection = Connection::open_in_memory().unwrap();
        for damaged in ["x''", "x'01ab'", "x'09'", "'text'", "NULL"] {
            let read =
                connection.query_row(&format!("SELECT {damaged}"), [], |row| row.get::<_, DigestColumn>(0));
            assert!(read.is_err(), "{damaged} was read as a digest");
        }
        let read = connection
            .query_row("SELECT 'no tag!'", [], |row| row.get::<_, TextColumn<registry_types::Tag>>(0));
        assert!(read.is_err());
        assert!(connection.query_row("SELECT -1", [], |row| row.get::<_, SizeColumn>(0)).is_err());
    }
}
