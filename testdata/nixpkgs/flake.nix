# A stand-in for nixpkgs, which can't be had without a network: enough to
# evaluate run-kernel's own flake.
{
  outputs = { self }:
    let
      names = [
        "bc" "bison" "elfutils" "flex" "gcc" "gnumake" "go" "makeWrapper" "openssl" "perl" "qemu" "virtiofsd"
      ];
      genAttrs = list: make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) list);
    in
    {
      lib.genAttrs = genAttrs;
      legacyPackages = genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: genAttrs names (name: "/${system}/${name}") // {
        buildGoModule = attributes: attributes;
        mkShell = attributes: attributes;
        lib = {
          makeBinPath = packages: builtins.concatStringsSep ":" (map (p: "${p}/bin") packages);
          licenses.gpl3Only = "GPL-3.0-only";
        };
      });
    };
}
