//! The platform as people use it: a real `weft up`, the real kubectl, requests through the gateway.
