/** What callers and plugins have in common: payloads, JSON and faults. */
package dev.forgemesh;
