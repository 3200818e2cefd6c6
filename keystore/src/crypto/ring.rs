//! ring behind the traits of [`super`].
