functions { trust = ["ana", "bob:AAAA"] }
pop "gru" {
  place = "São Paulo, SP, BR"
  edge "gru-1" { addresses = ["203.0.113.10"] }
}
zone "cdn.example" { file = "cdn.example.zone" }
service "shop.cdn.example" {
  function "greeting" { module = "a.wasm" }
  function "/a" {
    module     = "sha256:12"
    activation = "poled"
    phase      = "cache"
    kv         = ["a"]
    wall       = "2h"
    memory     = "1KiB"
  }
  function "/a" { module = "a" }
  function "/a/*/b" { module = "a" }
  function "/b" {}
}
