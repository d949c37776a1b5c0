//! A deserializer around another one, bincode's, that pays for memory before it is taken.
//!
//! bincode makes room for a text before it has seen that its bytes are there, and serde for up to a mebibyte of a list.
//! Here texts are copied from the bytes that they stand in, and a list is paid for before its first item is read; lists
//! make their room behind that, by [`exact`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::budget::Budget;

/// What asks, answers or visits, with the budget that it keeps to.
pub(super) struct Frugal<'b, T> {
    pub(super) inner: T,
    pub(super) budget: &'b Budget,
}

/// A list in no more room than its items need.
pub(crate) fn exact<'de, D, T>(deserializer: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Exact<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Exact<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(
            self,
            mut list: A,
        ) -> std::result::Result<Vec<T>, A::Error> {
            let Some(first) = list.next_element()? else { return Ok(Vec::new()) };
            // Behind its first item a list from our own bytes has been paid for. Others may claim what they like.
            let mut items = Vec::new();
            let n = list.size_hint().unwrap_or(0).saturating_add(1);
            items.try_reserve_exact(n).map_err(A::Error::custom)?;
            items.push(first);
            while let Some(item) = list.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Exact(PhantomData))
}

/// Visits a list. Tuples and structs, which have room where they stand, are visited by [`Frugal`].
struct List<'b, V> {
    inner: V,
    budget: &'b Budget,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for List<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> std::result::Result<V::Value, A::Error> {
        self.inner.visit_seq(Items { inner: items, budget: self.budget, paid: false })
    }
}

/// Items, all of which are paid for with the first.
struct Items<'b, A> {
    inner: A,
    budget: &'b Budget,
    paid: bool,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> std::result::Result<Option<T::Value>, A::Error> {
        if !self.paid {
            let n = self.inner.size_hint().unwrap_or(usize::MAX);
            self.budget.charge_list::<T::Value>(n).map_err(A::Error::custom)?;
            self.paid = true;
        }
        self.inner.next_element_seed(Frugal { inner: seed, budget: self.budget })
    }

    /// Nothing is known of how many there are until they are paid for.
    fn size_hint(&self) -> Option<usize> {
        if self.paid { self.inner.size_hint() } else { None }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Frugal<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<S::Value, D::Error> {
        self.inner.deserialize(Frugal { inner: deserializer, budget: self.budget })
    }
}

/// Methods that go on to the inner deserializer, whose answers come back through this one's visitor.
macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> std::result::Result<V::Value, D::Error> {
            let Frugal { inner, budget } = self;
            inner.$method($($argument,)* Frugal { inner: visitor, budget })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Frugal<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_bytes();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(n: usize);
        deserialize_tuple_struct(name: &'static str, n: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_seq<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, D::Error> {
        self.inner.deserialize_seq(List { inner: visitor, budget: self.budget })
    }

    fn deserialize_string<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, D::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> std::result::Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty;)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> std::result::Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Frugal<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_i128: i128;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_u128: u128;
        visit_f32: f32;
        visit_f64: f64;
        visit_char: char;
    }

    fn visit_borrowed_str<E: serde::de::Error>(
        self,
        text: &'de str,
    ) -> std::result::Result<V::Value, E> {
        // Twice, and a header: some texts are copied into what is shared.
        self.budget.charge(2 * text.len() + 16).map_err(E::custom)?;
        self.inner.visit_borrowed_str(text)
    }

    fn visit_none<E: serde::de::Error>(self) -> std::result::Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<V::Value, D::Error> {
        self.inner.visit_some(Frugal { inner: deserializer, budget: self.budget })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Frugal { inner: deserializer, budget: self.budget })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> std::result::Result<V::Value, A::Error> {
        self.inner.visit_seq(Items { inner: items, budget: self.budget, paid: true })
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> std::result::Result<V::Value, A::Error> {
        self.inner.visit_map(Frugal { inner: entries, budget: self.budget })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, of: A) -> std::result::Result<V::Value, A::Error> {
        self.inner.visit_enum(Frugal { inner: of, budget: self.budget })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Frugal<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, A::Error> {
        self.pay::<K::Value, A::Error>()?;
        self.inner.next_key_seed(Frugal { inner: seed, budget: self.budget })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> std::result::Result<V::Value, A::Error> {
        self.pay::<V::Value, A::Error>()?;
        self.inner.next_value_seed(Frugal { inner: seed, budget: self.budget })
    }
}

impl<A> Frugal<'_, A> {
    /// A node of a tree map is at least a third full, and points to others.
    fn pay<T, E: serde::de::Error>(&self) -> std::result::Result<(), E> {
        self.budget.charge(3 * size_of::<T>() + 16).map_err(E::custom)
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Frugal<'b, A> {
    type Error = A::Error;
    type Variant = Frugal<'b, A::Variant>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> std::result::Result<(V::Value, Self::Variant), A::Error> {
        let Frugal { inner, budget } = self;
        let (value, variant) = inner.variant_seed(seed)?;
        Ok((value, Frugal { inner: variant, budget }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Frugal<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> std::result::Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> std::result::Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Frugal { inner: seed, budget: self.budget })
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        n: usize,
        visitor: V,
    ) -> std::result::Result<V::Value, A::Error> {
        self.inner.tuple_variant(n, Frugal { inner: visitor, budget: self.budget })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Frugal { inner: visitor, budget: self.budget })
    }
}
