# What refers to something that is not there.
node "ams-1" {
  roles = ["edge"]
}
node "ns1" {
  roles = ["dns"]
}
node "iad-1" {
  roles     = ["dns", "edge"]
  addresses = ["203.0.113.99"]
}
pop "iad" {
  place = "Ashburn, VA, US"
  edge "iad-1" {
    addresses = ["203.0.113.10"]
  }
}
geodata {
  override "198.18.1.1/24" {
    place = "São Paulo"
  }
}
probe "tcp" {}
