//! JSON that every reader reads alike. Readers differ where JSON is loose: some match keys whatever their case
//! (Go's `encoding/json` does), some take the first of two equal keys and some the last, and serde itself takes an
//! array for an object. Content that two readers understand differently lets one of them check what the other
//! never uses (CVE-2021-41190 was such a case), so here it is refused:
//! - an object is written as an object, never as an array of its values;
//! - a key that equals a known key but for case is refused, beside the known one or instead of it;
//! - no key stands twice in one object.
//!
//! This holds for every object that the target type describes. What lies below unknown keys is skipped: nobody
//! here gives it a meaning.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use crate::shown;

/// Reads `text` as a `T`, exactly.
///
/// # Errors
/// When it is not JSON, not a `T`, or one of the above.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Exact(&mut json))?;
    json.end()?;
    Ok(value)
}

/// A deserializer, a seed or the access to a list, whose objects are read exactly, however deep.
struct Exact<T>(T);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Exact<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(ExactVisitor { known: fields, visitor })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(ExactVisitor { known: &[], visitor })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(ListVisitor(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(OptionVisitor(visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct enum identifier
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Exact<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Exact(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Exact<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Exact(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

/// Takes a value that may be null.
struct OptionVisitor<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for OptionVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Exact(deserializer))
    }
}

/// Takes a list.
struct ListVisitor<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for ListVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Exact(list))
    }
}

/// Takes an object and nothing else. `known`: the keys that mean something in it.
struct ExactVisitor<V> {
    known: &'static [&'static str],
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for ExactVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(ExactMap { map, known: self.known, others: HashSet::new() })
    }
}

/// An object's entries.
struct ExactMap<A> {
    map: A,
    known: &'static [&'static str],
    /// Keys so far that are not known ones; of those serde takes care.
    others: HashSet<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for ExactMap<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.map.next_key_seed(KeySeed { known: self.known, others: &mut self.others, seed })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(Exact(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// Checks one key before `seed` reads it.
struct KeySeed<'m, S> {
    known: &'static [&'static str],
    others: &'m mut HashSet<String>,
    seed: S,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for KeySeed<'_, S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<S::Value, E> {
        if !self.known.contains(&key) {
            if let Some(known) = self.known.iter().find(|known| equal_but_for_case(key, known)) {
                let key = shown(key);
                return Err(E::custom(format!(
                    "its key {key:?} is read as {known:?} by some: write {known:?}"
                )));
            }
            if !self.others.insert(key.to_owned()) {
                return Err(E::custom(format!("its key {:?} stands there twice", shown(key))));
            }
        }
        self.seed.deserialize(key.into_deserializer())
    }
}

/// Whether `key` is `known` to a reader that folds case as Unicode has it. Beside the capitals, two characters
/// fold to letters of ASCII: the long s and the sign of the unit kelvin.
fn equal_but_for_case(key: &str, known: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_that_of_unicode() {
        for (key, known) in [("KEYS", "keys"), ("\u{212a}ey\u{17f}", "keys"), ("keys", "Keys")] {
            assert!(equal_but_for_case(key, known), "{key}");
        }
        for other in ["key", "keyss", "kéys", ""] {
            assert!(!equal_but_for_case(other, "keys"), "{other}");
        }
    }

    #[test]
    fn what_follows_the_value_is_refused() {
        assert_eq!(from_str::<Option<u32>>(" 7 ").unwrap(), Some(7));
        assert_eq!(from_str::<Option<u32>>("null").unwrap(), None);
        assert!(from_str::<u32>("7 8").is_err());
    }
}
