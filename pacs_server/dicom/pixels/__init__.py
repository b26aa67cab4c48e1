"""Pixel data: fragments, frames and codestreams, and what a data set becomes in another transfer syntax."""
