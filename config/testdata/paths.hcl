pop "gru" {
  place = "São Paulo, SP, BR"
  edge "gru-1" {
    addresses = ["203.0.113.10"]
  }
}
zone "cdn.example" {
  file = "cdn.zone"
}
service "shop.cdn.example" {
  origin "http://origin.example" {
    first_byte = "90s"
    forwarded  = true
    keep_urls  = true
  }
  cookies = "strip"
  path "/account/*" {
    cookies = "pass"
  }
  path "/assets/*" {
  }
}
