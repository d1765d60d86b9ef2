//! Real servers and real clients; the tests here say in one line when they are skipped.
