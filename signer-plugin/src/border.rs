//! The border to hickory: the only module that names its types.
