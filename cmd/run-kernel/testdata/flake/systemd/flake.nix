# A system with systemd as its first process, without nixpkgs: Debian's, in the
# store. The tests put busybox beside it, and the hash of what they have added to
# the store as "debian-systemd".
{
  outputs = { self }:
    let
      debian = derivation {
        name = "debian-systemd";
        system = "x86_64-linux";
        builder = "/not-in-the-store"; # it is there already
        outputHashMode = "recursive";
        outputHashAlgo = "sha256";
        outputHash = builtins.readFile ./debian.hash;
      };
    in
    {
      nixosConfigurations.vm.config.system.build.toplevel = derivation {
        name = "systemd";
        system = "x86_64-linux";
        builder = "${self}/busybox";
        args = [ "sh" "-e" "${self}/build" ];
        source = self;
        inherit debian;
      };
    };
}
