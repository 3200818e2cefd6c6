//! Which keys an interval needs: BIND's `keygen` rounds (`spec` of the manual: "Planning keys").
