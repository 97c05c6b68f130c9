node "gru-1" {
  rolls = ["dns"]
  roles = ["dsn", "edge"]
  cache = "lots"
  api   = "localhost"
}
pop "gru" {
  place = "São Pulo"
  edge "gru-1" {
    addresses = ["203.0.113.10", "203.0.113.300"]
    capacity  = "10 apples"
    weight    = 1.5
  }
}
pop "gru" {
  place = "London"
}
pop "iad" {
  place = "Ashburn, VA, US"
  edge "iad-1" {
    addresses = ["203.0.113.10"]
  }
}
zone "cdn.example" {
  file   = cdn.zone
  dnssec = "perhaps"
}
service "shop.other.example" {
  aliases = ["www.shop.example", "www.shop.example"]
  origin "ftp://origin.shop.example" {}
  map {
    policy  = ["nearest", "up"]
    pops    = ["gur"]
    answers = 0
    ttl     = "20"
    fence "eu" {
      countries = ["de"]
      pops      = ["iad"]
    }
  }
}
