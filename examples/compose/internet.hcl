# What is not of the CDN: the root, and the ordinary name server of the shop's
# owner. They run the same binary, as plain authoritative servers.

node "root" {
  roles     = ["dns"]
  place     = "Ashburn, VA, US"
  addresses = ["198.18.2.4"]
}
node "ns-shop" {
  roles     = ["dns"]
  place     = "Ashburn, VA, US"
  addresses = ["198.18.2.54"]
}
zone "." { file = "root.zone" }
zone "shop.example" { file = "shop.example.zone" }
