pop "a" {
  place = "Tokyo, JP"
  edge "a-1" {
    addresses = ["1.2.3.4"]
    check = "1.2.3.4"
  }
}
pop "tagged" {
  place = "0,10"
  edge "a" {
    addresses = ["198.51.100.1"]
    tags      = "2001:db8:1:1::/64"
  }
  edge "b" {
    addresses = ["2001:db8:1:2::11"]
    tags      = "2001:db8:1:2::/64"
  }
  edge "c" {
    addresses = ["2001:db8:1:3::11"]
    tags      = "2001:db8:1:4::/56"
  }
  edge "d" {
    addresses = ["2001:db8:1:3::12"]
    tags      = "2001:db8:1:1::/64"
  }
}
