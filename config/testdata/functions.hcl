functions {
  trust = ["ana:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
}
node "gru-1" { roles = ["edge"] }
pop "gru" {
  place = "São Paulo, SP, BR"
  edge "gru-1" { addresses = ["203.0.113.10"] }
}
zone "cdn.example" { file = "cdn.example.zone" }
service "shop.cdn.example" {
  origin "https://origin.shop.example" {}
  function "/prices" {
    module = "prices"
    config = "two decimals"
    kv     = { BR = "BRL 5.40", "PT" = "EUR 0.92" }
    wall   = "50ms"
    memory = "16MiB"
    subrequests = 2
  }
  function "/thumb/*" {
    module     = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    phase      = "origin"
    activation = "per-request"
  }
}
