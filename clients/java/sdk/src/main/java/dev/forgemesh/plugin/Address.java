package dev.forgemesh.plugin;

import java.net.InetSocketAddress;

/** Texts of the form host:port; an IPv6 address stands in brackets. */
final class Address {
  private Address() {}

  /** The host; null if the text is no host:port. */
  static String host(String address) {
    int colon = address.lastIndexOf(':');
    if (colon < 0 || !address.substring(colon + 1).matches("\\d{1,5}")) {
      return null;
    }
    String host = address.substring(0, colon);
    return host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
  }

  static InetSocketAddress socket(String address) {
    return new InetSocketAddress(
        host(address), Integer.parseInt(address.substring(address.lastIndexOf(':') + 1)));
  }

  static String of(String host, int port) {
    return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
  }
}
