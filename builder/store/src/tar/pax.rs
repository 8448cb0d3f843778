//! PAX extended header records (POSIX pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, where LENGTH counts itself.

use std::collections::BTreeMap;

use super::ModificationTime;

/// Prefix under which tools keep extended attributes.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Records by key; a map, so that they are written in one order.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Bytes of all records. A value that is not UTF-8 is announced by `hdrcharset=BINARY`, as POSIX asks.
pub(super) fn encode(records: &Records) -> Vec<u8> {
    let mut text = Vec::new();
    let is_text = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        key.starts_with(XATTR_PREFIX) || std::str::from_utf8(value).is_ok()
    };
    if !records.iter().all(is_text) {
        encode_one(&mut text, b"hdrcharset", b"BINARY");
    }
    for (key, value) in records {
        encode_one(&mut text, key, value);
    }
    text
}

fn encode_one(text: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length = rest + length.to_string().len();
    }
    text.extend_from_slice(length.to_string().as_bytes());
    text.push(b' ');
    text.extend_from_slice(key);
    text.push(b'=');
    text.extend_from_slice(value);
    text.push(b'\n');
}

/// Adds the records in `text` to `records`; an empty value removes a key, as POSIX says, except
/// that an extended attribute may be empty. `Err` says what is wrong.
///
/// GNU's oldest sparse form repeats `GNU.sparse.offset` and `GNU.sparse.numbytes`; they are gathered into one
/// `GNU.sparse.map`, the form of the next version.
pub(super) fn decode(mut text: &[u8], records: &mut Records) -> Result<(), &'static str> {
    let mut map = Vec::new();
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').ok_or("an extended header has no length")?;
        let length: usize = std::str::from_utf8(&text[..space])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or("an extended header's length is no number")?;
        if length <= space + 1 || length > text.len() {
            return Err("an extended header's length is wrong");
        }
        let (record, rest) = text.split_at(length);
        text = rest;
        let record =
            record[space + 1..].strip_suffix(b"\n").ok_or("an extended header does not end in a line")?;
        let equals =
            record.iter().position(|byte| *byte == b'=').ok_or("an extended header has no equals sign")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"" => return Err("an extended header has no key"),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                if !map.is_empty() {
                    map.push(b',');
                }
                map.extend_from_slice(value);
            }
            _ if value.is_empty() && !key.starts_with(XATTR_PREFIX) => {
                records.remove(key);
            }
            _ => {
                records.insert(key.to_vec(), value.to_vec());
            }
        }
    }
    if !map.is_empty() {
        records.insert(b"GNU.sparse.map".to_vec(), map);
    }
    Ok(())
}

/// A decimal whole number.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A decimal time with an optional sign and fraction; digits below the nanosecond are dropped.
pub(super) fn time(value: &[u8]) -> Option<ModificationTime> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(ModificationTime {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Some(ModificationTime { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_count_themselves() {
        let mut text = Vec::new();
        encode_one(&mut text, b"a", &[b'x'; 5]);
        assert_eq!(text, b"11 a=xxxxx\n");
        for size in 0..1200 {
            let mut text = Vec::new();
            encode_one(&mut text, b"key", &vec![b'v'; size]);
            let space = text.iter().position(|byte| *byte == b' ').unwrap();
            let said: usize = std::str::from_utf8(&text[..space]).unwrap().parse().unwrap();
            assert_eq!(said, text.len(), "value of {size} bytes");
        }
    }

    #[test]
    fn times_keep_their_fraction() {
        assert_eq!(time(b"12.5"), Some(ModificationTime { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(ModificationTime { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"7.1234567899"), Some(ModificationTime { seconds: 7, nanoseconds: 123_456_789 }));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&text, &mut Records::new());
        }

        #[test]
        fn records_come_back(records in proptest::collection::btree_map(
            "[a-zA-Z.]{1,12}", proptest::collection::vec(any::<u8>(), 1..40), 0..6)) {
            let records: Records = records.into_iter()
                .map(|(key, value)| (format!("SCHILY.xattr.{key}").into_bytes(), value)).collect();
            let mut back = Records::new();
            decode(&encode(&records), &mut back).unwrap();
            prop_assert_eq!(back, records);
        }
    }
}
