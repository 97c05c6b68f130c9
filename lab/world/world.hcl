# The demo world: a CDN of ten PoPs that serves one shop.
#
# Addresses are real and public. The embedded map places each in its city.

pop "gru" {
  place    = "São Paulo, SP, BR"
  provider = "alfa"
  edge "gru-1" { addresses = ["54.20.0.11", "2a05:e600::11"] }
  edge "gru-2" { addresses = ["54.20.0.12", "2a05:e600::12"] }
}
pop "iad" {
  place    = "Ashburn, VA, US"
  provider = "alfa"
  edge "iad-1" { addresses = ["184.208.0.11", "2600:c800::11"] }
  edge "iad-2" { addresses = ["184.208.0.12", "2600:c800::12"] }
}
pop "sjc" {
  place    = "San Jose, CA, US"
  provider = "beta"
  edge "sjc-1" { addresses = ["168.192.0.11", "2602:240::11"] }
}
pop "fra" {
  place    = "Frankfurt am Main, DE"
  provider = "alfa"
  edge "fra-1" { addresses = ["91.28.0.11", "2a00:100::11"] }
  edge "fra-2" { addresses = ["91.28.0.12", "2a00:100::12"] }
}
pop "lhr" {
  place    = "London, ENG, GB"
  provider = "beta"
  edge "lhr-1" { addresses = ["25.192.0.11", "2600:f040::11"] }
}
pop "jnb" {
  place    = "Johannesburg, ZA"
  provider = "gama"
  edge "jnb-1" { addresses = ["164.88.0.11", "2c0e:8080::11"] }
}
pop "bom" {
  place    = "Mumbai, IN"
  provider = "gama"
  edge "bom-1" { addresses = ["15.206.0.11", "2a13:d3c0::11"] }
}
pop "sin" {
  place    = "Singapore, SG"
  provider = "alfa"
  edge "sin-1" { addresses = ["18.140.0.11", "240b:4200::11"] }
}
pop "nrt" {
  place    = "Tokyo, JP"
  provider = "alfa"
  edge "nrt-1" { addresses = ["204.147.232.11", "2404:9680::11"] }
}
pop "syd" {
  place    = "Sydney, NSW, AU"
  provider = "beta"
  edge "syd-1" { addresses = ["3.26.0.11", "2400:5d10::11"] }
}

# The authoritative name servers of cdn.example.
node "ns1" {
  roles     = ["dns"]
  place     = "Ashburn, VA, US"
  addresses = ["32.192.0.53", "2606:40c0::53"]
}
node "ns2" {
  roles     = ["dns"]
  place     = "Frankfurt am Main, DE"
  addresses = ["63.184.0.53", "2a00:40::53"]
}

zone "cdn.example" {
  file = "cdn.example.zone"
}

service "shop.cdn.example" {
  aliases = ["www.shop.example"]
  origin "http://origin.shop.example" {
    health = "/healthz"
  }
  map {
    ttl     = "20s"
    ttl_min = "5s"
  }

  # The shop's code that runs at the edges. With placement = "origin" the same
  # modules run there.
  function "/greeting" {
    module = "greeting"
  }
  function "/prices" {
    module = "prices"
    kv     = { BR = "BRL 5.40", PT = "EUR 0.92", JP = "JPY 151" }
  }
  function "/search" {
    module = "search"
  }
  function "/thumb/*" {
    module     = "thumbnail"
    phase      = "origin" # behind the cache: its responses are stored
    activation = "per-request"
    wall       = "5s" # the first thumbnail of a large picture is slow
  }
}
