//! Images into cluster nodes, missing layers only.
