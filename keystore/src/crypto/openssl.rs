//! openssl behind the traits of [`super`].
