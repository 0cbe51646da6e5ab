//! The main job in two processes.
