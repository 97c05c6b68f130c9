zone "cdn.example" {
  file   = "cdn.example.zone"
  dnssec = true
}
zone "other.example" {
  file   = "other.example.zone"
  dnssec = false
}
